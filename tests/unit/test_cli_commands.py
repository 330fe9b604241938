"""``tidegate status`` and ``explain`` as a person sees them."""

import asyncio
import contextlib
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from hub_samples import NOW, lively_status, policy
from small_api import SmallApi, status
from tidegate_operator.cli import screens
from tidegate_operator.cli.__main__ import main, program
from tidegate_operator.cli.faults import ClusterError
from tidegate_operator.cli.status import watch_until

ALL = "/apis/tidegate.io/v1alpha1/llmqualitypolicies"
IN_SHOP = "/apis/tidegate.io/v1alpha1/namespaces/shop/llmqualitypolicies"


def told(renderable: RenderableType) -> str:
    console = Console(width=150, file=io.StringIO(), highlight=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["tidegate", *arguments])
        except SystemExit as end:
            code = end.code
    return int(code or 0), out.getvalue(), err.getvalue()


async def ask(api: SmallApi, tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    config = api.kubeconfig(tmp_path / "kubeconfig")
    return await asyncio.to_thread(run, *arguments, "--kubeconfig", str(config))


def test_overview() -> None:
    new = {"metadata": {"name": "new", "namespace": "lab"}, "spec": {}}
    assert told(screens.overview([policy(), new], namespaces=True)) == (
        "NAMESPACE  NAME  MODE     PHASE    MODEL      REQ/S  AHEAD  READY  WANTED  BUDGET  "
        "WHAT IS GOING ON\n"
        "shop       chat  Enforce  Blocked  llama-70b   13.4   16.8      5       7    100%  "
        "Tenant research is blocked, search is warned; the rest is normal.\n"
        "lab        new   Shadow   New      -              -      -      -       -       -  "
        "The operator has not looked at this policy yet; it does so within a\n"
        "                                                                                   "
        "minute."
    )


def test_detail_says_everything_once() -> None:
    text = told(screens.detail(policy(), NOW))
    for line in (
        "shop/chat  Blocked  Enforce  Deployment/llama",
        "Tenant research is blocked, search is warned; the rest is normal.",
        "Demand      13.4 req/s (Present)",
        "Forecast    at most 16.8 req/s within 6 min",
        "Replicas    5 ready, 7 wanted (demand calls for 6, forecast for 7)",
        "Cold start  9 of 10 within 3 min 30 s",
        "Sidecars    6 of 6 run the current config, 0 refused it",
        "team-day     research  2,004,118  2,000,000   100%  Block  7 Jan 00:00",
        "money-month  Policy       211.42        900    23%  -      1 Feb 00:00",
        "✓  Ready",
        "!  ScalingLimited",
        "✓  Degraded",
    ):
        assert line in text, text


@pytest.mark.parametrize(
    ("block", "line"),
    [
        pytest.param(
            {
                "capacity": {
                    "perReplica": "1.4",
                    "signal": "RequestsPerSecond",
                    "source": "Learned",
                }
            },
            "Capacity    1.4 req/s (learned)",
            id="a learned capacity",
        ),
        pytest.param(
            {"capacity": {"perReplica": "900", "signal": "TokensPerSecond", "source": "Learning"}},
            "Capacity    900 tokens/s (or more, being learned: no pod is added by it yet)",
            id="a lower bound",
        ),
        pytest.param(
            {"capacity": {"source": "Unknown"}}, "Capacity    not known yet", id="no capacity"
        ),
        pytest.param(
            {"replicas": {"ready": 5, "desired": 7, "reactive": 6, "scheduled": 7}},
            "(demand calls for 6, forecast for -, a schedule for 7)",
            id="a schedule",
        ),
        pytest.param(
            {
                "demand": {
                    "rps": "10",
                    "state": "Present",
                    "littlesLaw": {"inFlight": "4", "expected": "40", "holds": False},
                }
            },
            "10 req/s (Present); 4 at once where rate x service time is 40",
            id="a law of Little that does not hold",
        ),
    ],
)
def test_detail_says_what_scaling_rests_on(block: dict[str, Any], line: str) -> None:
    text = told(screens.detail(policy(status=lively_status() | block), NOW))
    assert line in text, text


def test_explain_shows_inputs_forecast_reactive_value_and_clamps() -> None:
    assert told(screens.explanation(policy(), NOW)).splitlines()[:14] == [
        "shop/chat  Blocked  Enforce",
        "Tenant research is blocked, search is warned; the rest is normal.",
        "",
        "10:23:50  ScaleUp  6 → 7  ForecastAboveCapacity",
        "    forecast: 16.8 requests/s within 6m0s need 8 pods; demand now: 6",
        "    demand now            13.4 req/s",
        "    demand ahead          16.8 req/s",
        "    replicas asked for    6",
        "    ready                 5",
        "    starting              1",
        "    demand calls for      6",
        "    forecast calls for    8",
        "    held by ScaleUpLimit  8 became 7",
        "",
    ]


def test_explain_in_shadow_says_that_nothing_was_applied() -> None:
    shadow = policy()
    shadow["status"]["decisions"][0]["applied"] = False
    assert "ForecastAboveCapacity  not applied" in told(screens.explanation(shadow, NOW))


def test_a_policy_without_status_says_what_to_do_next() -> None:
    new = {"metadata": {"name": "new", "namespace": "lab"}, "spec": {}}
    assert "kubectl -n tidegate-system get deploy" in told(screens.detail(new, NOW))
    assert "No decision has changed anything yet." in told(screens.explanation(new, NOW))


def test_markup_in_a_status_is_text() -> None:
    odd = policy()
    odd["status"]["decisions"][0]["message"] = "[red]x[/] [/oops]"
    assert "[red]x[/] [/oops]" in told(screens.explanation(odd, NOW))
    assert "[/oops]" in told(screens.fault("[/oops]"))


@pytest.mark.parametrize("broken", [{"status": "x"}, {"status": {"decisions": 3, "budgets": [1]}}])
def test_odd_statuses_break_nothing(broken: dict[str, Any]) -> None:
    odd = {**policy(), **broken}
    told(screens.overview([odd], namespaces=False))
    told(screens.detail(odd, NOW))
    told(screens.explanation(odd, NOW))


async def test_commands_against_a_server(tmp_path: Path) -> None:
    async with SmallApi() as api:
        api.answers[IN_SHOP] = api.answers[ALL] = (200, {"items": [policy()]})
        code, out, _ = await ask(api, tmp_path, "status")
        assert (code, "chat  Enforce" in out) == (0, True)
        code, out, _ = await ask(api, tmp_path, "status", "chat")
        assert (code, "shop/chat" in out) == (0, True)
        code, out, _ = await ask(api, tmp_path, "status", "-A", "-o", "json")
        assert json.loads(out)["policies"][0]["status"]["phase"] == "Blocked"
        code, out, _ = await ask(api, tmp_path, "status", "chat", "-o", "json")
        assert json.loads(out)["policy"]["name"] == "chat"
        code, out, _ = await ask(api, tmp_path, "explain", "chat", "-o", "json")
        assert json.loads(out)["decisions"][0]["clamps"][0]["reason"] == "ScaleUpLimit"
        assert {path for _, path in api.asked} == {IN_SHOP, ALL}


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        pytest.param(
            (404, status(404, "NotFound", "page not found")),
            "LLMQualityPolicy is not installed in the cluster at URL: "
            "kubectl apply -f crds/llmqualitypolicies.yaml",
            id="CRD not installed",
        ),
        pytest.param(
            (401, status(401, "Unauthorized")),
            "URL does not accept your credentials: log in again or try another --context",
            id="unauthorised",
        ),
        pytest.param(
            (403, status(403, "Forbidden", 'User "u" cannot list')),
            'you may not read llmqualitypolicies.tidegate.io there: User "u" cannot list',
            id="forbidden",
        ),
        pytest.param(
            (500, status(500, "InternalError", "etcd is sad")),
            "the API server at URL answered 500: etcd is sad",
            id="server error",
        ),
        pytest.param(
            (200, "<html>"), "URL does not answer like a Kubernetes API", id="not a cluster"
        ),
        pytest.param(
            (200, {"items": []}),
            "no policy chat in namespace shop (there are none; -A looks in all namespaces)",
            id="no such policy, and none at all",
        ),
        pytest.param(
            (200, {"items": [policy("other")]}),
            "no policy chat in namespace shop (there: other)",
            id="no such policy, but others",
        ),
    ],
)
async def test_each_fault_is_one_clear_line(
    answer: tuple[int, Any], line: str, tmp_path: Path
) -> None:
    async with SmallApi() as api:
        api.answers[IN_SHOP] = answer
        for command in ("status", "explain"):
            code, out, err = await ask(api, tmp_path, command, "chat")
            assert (code, out, err) == (1, "", f"tidegate: {line.replace('URL', api.url)}\n")


async def test_an_unreachable_cluster_is_one_clear_line(tmp_path: Path) -> None:
    async with SmallApi() as api:
        config = api.kubeconfig(tmp_path / "kubeconfig")
    code, out, err = await asyncio.to_thread(run, "status", "--kubeconfig", str(config))
    assert (code, out) == (1, "")
    assert err.startswith(f"tidegate: cannot reach the cluster at {api.url}: ")
    assert "refused" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "content", [None, "", "a: [", "kind: Config"], ids=["absent", "empty", "no YAML", "no cluster"]
)
def test_a_useless_kubeconfig_is_one_clear_line(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    code, out, err = run("status", "--kubeconfig", str(path))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("tidegate: no cluster is configured: ")


async def test_an_empty_list_says_where_it_looked(tmp_path: Path) -> None:
    async with SmallApi() as api:
        api.answers[IN_SHOP] = api.answers[ALL] = (200, {"items": []})
        _, here, _ = await ask(api, tmp_path, "status")
        _, everywhere, _ = await ask(api, tmp_path, "status", "-A")
    assert here.strip() == "No LLMQualityPolicy in namespace shop; -A looks in all."
    assert everywhere.strip() == "No LLMQualityPolicy in any namespace."


@pytest.mark.parametrize(
    "arguments", [("status", "x", "-A"), ("status", "-w", "-o", "json"), ("status", "-o", "xml")]
)
def test_options_that_contradict_are_usage_errors(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_a_watch_outlives_the_cluster_and_says_so() -> None:
    stop = threading.Event()
    looks: list[str] = []

    def look() -> str:
        looks.append("")
        if len(looks) == 2:
            raise ClusterError("cannot reach the cluster")
        if len(looks) == 4:
            stop.set()
        return f"look {len(looks)}"

    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    watch_until(stop, look, console, every_s=0.001)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "cannot reach the cluster" in shown
    assert "look 4" in shown


@pytest.mark.parametrize(
    ("path", "name"),
    [("/usr/bin/tidegate", "tidegate"), ("/x/kubectl-tidegate", "kubectl tidegate")],
)
def test_help_shows_the_name_that_was_typed(path: str, name: str) -> None:
    assert program(path) == name


def test_the_version_needs_no_command() -> None:
    code, out, _ = run("--version")
    assert (code, out.startswith("tidegate ")) == (0, True)
