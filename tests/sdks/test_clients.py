"""What real clients and their provider see through the sidecar is what they see without it."""

from collections.abc import Callable
from typing import Any

import pytest

from client_runs import BothRuns
from scenarios import CLIENTS, MEANT, SENTENCES, Client

Runs = Callable[[Client], BothRuns]


def group(client: Client) -> pytest.MarkDecorator:
    return pytest.mark.xdist_group(client.name)


def rows(meant: bool) -> list[Any]:
    return [
        pytest.param(client, name, id=f"{client.name}: {SENTENCES[name]}", marks=group(client))
        for client in CLIENTS
        for name in client.scenarios
        if (name in MEANT) is meant
    ]


def each_client() -> list[Any]:
    return [pytest.param(client, id=client.name, marks=group(client)) for client in CLIENTS]


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
