"""What real clients and their provider see through the sidecar is what they see without it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from client_runs import BothRuns
from provider_openai import FLAKY_TRIES
from scenarios import CLIENTS, MEANT, SENTENCES, Client
from tidegate_wire.names import Outcome

pytestmark = pytest.mark.timeout(600)  # the first test is the one that runs all clients
Runs = Callable[[Client], BothRuns]

_PARTS = re.compile(
    r'^tidegate_token_parts_total\{model="(.*?)",.*part="(.*?)"\} (\d+)', re.MULTILINE
)
_FATES = {
    "hold": Outcome.CANCELLED,
    "stall": Outcome.CANCELLED,
    "cut-fin": Outcome.BROKEN,
    "cut-reset": Outcome.BROKEN,
    "unended": Outcome.BROKEN,
    "hang-up": Outcome.RESET,
    "error-event": Outcome.SERVER_ERROR,
    "failed": Outcome.SERVER_ERROR,
}


def outcome_of(model: str, tried: int) -> Outcome:
    """What the provider's script means for a request that was tried so often before."""
    kind, _, status = model.partition("-")
    if status.isdigit() and not (kind == "flaky" and tried >= FLAKY_TRIES):
        return Outcome.SERVER_ERROR if int(status) >= 500 else Outcome.CLIENT_ERROR
    return _FATES.get(model, Outcome.OK)


def rows(meant: bool) -> list[Any]:
    return [
        pytest.param(client, name, id=f"{client.name}: {SENTENCES[name]}")
        for client in CLIENTS
        for name in client.scenarios
        if (name in MEANT) is meant
    ]


def each_client() -> list[Any]:
    return [pytest.param(client, id=client.name) for client in CLIENTS]


_FAILING = ("error-", "retries-429", "retries-503", "retries-unwanted", "timeout", "cut-", "hang-")


def failed(saw: dict[str, Any]) -> bool:
    """What the client said last was an error."""
    result, answers = saw.get("result"), saw["answers"]
    raised = "error" in saw or (isinstance(result, dict) and result.get("error") is not None)
    return raised or answers[-1]["status"] >= 400


@pytest.mark.parametrize(("client", "scenario"), rows(meant=False) + rows(meant=True))
def test_without_us_it_fails_where_it_is_to_fail(
    runs_of: Runs, client: Client, scenario: str
) -> None:
    """Otherwise two runs could be the same in that neither did anything."""
    unread = scenario == "error-event" and client.name == "curl"  # which reads no events
    fails = scenario.startswith(_FAILING) or scenario == "responses-cut"
    saw = failed(runs_of(client).direct.saw(scenario))
    assert saw is (fails and not unread)


@pytest.mark.parametrize(("client", "scenario"), rows(meant=False))
def test_through_us_it_sees_what_it_sees_without(
    runs_of: Runs, client: Client, scenario: str
) -> None:
    both = runs_of(client)
    assert both.through.saw(scenario) == both.direct.saw(scenario)


@pytest.mark.parametrize(("client", "scenario"), rows(meant=False))
def test_the_provider_sees_the_same_requests_as_often(
    runs_of: Runs, client: Client, scenario: str
) -> None:
    both = runs_of(client)
    assert both.direct.provider.requests(scenario)
    assert both.through.provider.requests(scenario) == both.direct.provider.requests(scenario)


def without_null_usage(events: list[Any]) -> list[Any]:
    return [
        {name: value for name, value in event.items() if (name, value) != ("usage", None)}
        if isinstance(event, dict)
        else event
        for event in events
    ]


@pytest.mark.parametrize(("client", "scenario"), rows(meant=True))
def test_what_is_told_otherwise_is_told_so_on_purpose(
    runs_of: Runs, client: Client, scenario: str
) -> None:
    both = runs_of(client)
    direct, through = both.direct.saw(scenario), both.through.saw(scenario)
    if scenario == "hang-up":
        assert direct["answers"] == []
        assert {answer["status"] for answer in through["answers"]} == {502}
        return
    told = without_null_usage(through["result"]["events"])
    assert told and told == direct["result"]["events"][: len(told)]
    fails = scenario != "chat-stream-null-usage"
    assert ("error" in through["result"]) is fails


@pytest.mark.parametrize("client", each_client())
def test_the_driver_does_what_the_table_says(runs_of: Runs, client: Client) -> None:
    both = runs_of(client)
    assert set(both.direct.document["scenarios"]) == set(client.scenarios)


@pytest.mark.parametrize("client", each_client())
def test_each_request_is_counted_once(runs_of: Runs, client: Client) -> None:
    both = runs_of(client)
    asked = [r for seen in both.direct.provider.seen.values() for r in seen if r.method == "POST"]
    assert both.stats.arrived == len(asked)
    assert sum(series.ended for series in both.stats.series) == len(asked)


@pytest.mark.parametrize("client", each_client())
def test_tokens_are_those_that_the_provider_told(runs_of: Runs, client: Client) -> None:
    both = runs_of(client)
    counted = {s.model: (s.tokens_in, s.tokens_out, s.tokens_estimated) for s in both.stats.series}
    told = both.through.provider.told
    assert told
    for model in told:
        assert counted[model] == (told[model]["input"], told[model]["output"], 0), model


@pytest.mark.parametrize("client", each_client())
def test_parts_of_tokens_are_those_that_the_provider_told(runs_of: Runs, client: Client) -> None:
    both = runs_of(client)
    told = both.through.provider.told
    counted = [(model, part, int(n)) for model, part, n in _PARTS.findall(both.page)]
    assert sorted(row for row in counted if row[0] in told) == sorted(
        (model, part, count)
        for model, sums in told.items()
        for part, count in sums.items()
        if part not in ("input", "output")
    )


@pytest.mark.parametrize("client", each_client())
def test_each_request_ends_as_what_became_of_it(runs_of: Runs, client: Client) -> None:
    both = runs_of(client)
    expected: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for requests in both.direct.provider.seen.values():
        for tried, request in enumerate(requests):
            if isinstance(request.body, dict) and not request.target.endswith("/speech"):
                model = request.body["model"]
                expected[model][outcome_of(model, tried)] += 1
    counted = {series.model: series.outcomes for series in both.stats.series if series.model}
    assert counted == expected
