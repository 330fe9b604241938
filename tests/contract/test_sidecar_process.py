"""The sidecar as people and kubelets meet it: a process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

import selfmade_ca
from hub import FakeHub, eventually
from sidecar_process import ModelServer, SidecarProcess
from tidegate_operator.sources.sidecars import Address, Sidecars
from tidegate_wire.clock import Clock
from tidegate_wire.config import Do, Model, Order, SidecarConfig
from tidegate_wire.stats import SidecarStats

CHAT = "/v1/chat/completions"
ASK = {"model": "big", "messages": [{"role": "user", "content": "plant-a-secret-here"}]}
STREAM = {**ASK, "stream": True}
AT_ONCE = {"TIDEGATE_DRAIN_ACCEPT_S": "0", "TIDEGATE_LINGER_S": "0"}
BIG = SidecarConfig(policy="ns/p", models=(Model(name="big"),))
BLOCKED = SidecarConfig(
    policy="ns/p",
    models=(Model(name="big"),),
    order=Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=4e9, retry_after_s=60),
)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


async def stats(http: aiohttp.ClientSession, sidecar: SidecarProcess) -> SidecarStats:
    async with http.get(sidecar.admin + "/stats") as answer:
        return SidecarStats.from_json(await answer.read())


async def status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def chat(http: aiohttp.ClientSession, sidecar: SidecarProcess) -> int:
    async with http.post(sidecar.url + CHAT, json=ASK) as answer:
        await answer.read()
        return answer.status


async def test_it_serves_measures_and_says_nothing_of_what_was_asked(
    server: ModelServer, http: aiohttp.ClientSession
) -> None:
    env = {**AT_ONCE, "TIDEGATE_POD_UID": "uid-7"}
    async with SidecarProcess("--upstream", server.url, env=env) as sidecar:
        headers = {"Authorization": "Bearer sk-planted-key"}
        async with http.post(sidecar.url + CHAT, json=ASK, headers=headers) as answer:
            body = await answer.json()
        assert (answer.status, body["choices"][0]["message"]["content"]) == (200, "hello")
        assert await status(http, sidecar.admin + "/healthz") == 200
        assert await status(http, sidecar.admin + "/readyz") == 200
        look = await stats(http, sidecar)
        assert (look.pod_uid, look.arrived, look.in_flight) == ("uid-7", 1, 0)
        assert len(look.boot) == 16
        assert sum(series.tokens_in for series in look.series) == 7
        assert sum(series.tokens_out for series in look.series) == 5
        async with http.get(sidecar.admin + "/metrics") as metrics:
            text = await metrics.text()
        assert "tidegate_requests_total" in text
        assert metrics.content_type == "text/plain"
        sidecar.terminate()
        assert await sidecar.exit_code() == 0
    assert sidecar.events() == ["started", "draining", "stopped"]
    assert sidecar.lines[-1]["unread"] is False
    assert "planted" not in text + str(sidecar.lines)
    assert "plant-a-secret" not in text + str(sidecar.lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
async def test_told_to_leave_it_finishes_a_running_stream_and_exits_0(
    server: ModelServer, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    async with SidecarProcess("--upstream", server.url, env=AT_ONCE) as sidecar:
        async with http.post(sidecar.url + CHAT, json=STREAM) as answer:
            first = await answer.content.readuntil(b"\n\n")
            sidecar.process.send_signal(number)
            await sidecar.line("draining")
            assert await status(http, sidecar.admin + "/readyz") == 503
            assert await status(http, sidecar.admin + "/healthz") == 200
            await eventually(lambda: _refuses(sidecar.url))
            assert sidecar.process.returncode is None
            server.hold.set()
            rest = await answer.read()
        assert b"hel" in first
        assert rest.endswith(b"data: [DONE]\n\n")
        assert await sidecar.exit_code() == 0
    assert sidecar.lines[-1]["in_flight"] == 0


async def test_while_it_leaves_it_still_accepts_for_a_while(
    server: ModelServer, http: aiohttp.ClientSession
) -> None:
    env = {"TIDEGATE_DRAIN_ACCEPT_S": "60"}
    async with SidecarProcess("--upstream", server.url, env=env) as sidecar:
        sidecar.terminate()
        await sidecar.line("draining")
        async with http.post(sidecar.url + CHAT, json=ASK) as answer:
            await answer.read()
        assert answer.status == 200
        assert answer.headers["Connection"] == "close"
        sidecar.terminate()
        assert await sidecar.exit_code() == 1, "a second signal means now"


async def test_leaving_under_a_hundred_live_streams_cuts_none_and_loses_no_count(
    server: ModelServer,
) -> None:
    env = {"TIDEGATE_DRAIN_ACCEPT_S": "2", "TIDEGATE_LINGER_S": "60"}
    async with (
        SidecarProcess("--upstream", server.url, env=env) as sidecar,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):

        async def whole() -> bool:
            async with http.post(sidecar.url + CHAT, json=STREAM) as answer:
                return (await answer.read()).endswith(b"data: [DONE]\n\n")

        await stats(http, sidecar)
        streams = [asyncio.create_task(whole()) for _ in range(100)]
        await eventually(lambda: len(server.requests) == 100)
        sidecar.terminate()
        await sidecar.line("draining")
        # Services have not heard of it yet, and go on sending.
        streams += [asyncio.create_task(whole()) for _ in range(20)]
        await eventually(lambda: len(server.requests) == 120)
        server.hold.set()
        assert all(await asyncio.gather(*streams))
        look = await stats(http, sidecar)
        while look.in_flight:
            look = await stats(http, sidecar)
        assert [dict(series.outcomes) for series in look.series] == [{"ok": 120}]
        assert await sidecar.exit_code() == 0


async def test_a_kubelets_hook_drains_it_and_unless_the_pod_ends_it_starts_anew(
    server: ModelServer, http: aiohttp.ClientSession
) -> None:
    async with SidecarProcess("--upstream", server.url, env=AT_ONCE) as sidecar:
        async with http.post(sidecar.url + CHAT, json=STREAM) as answer:
            await answer.content.readuntil(b"\n\n")
            hook = asyncio.create_task(status(http, sidecar.admin + "/drain"))
            await sidecar.line("draining")
            await asyncio.sleep(0.2)
            assert not hook.done()
            server.hold.set()
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        assert await hook == 200
        assert await sidecar.exit_code() == 0


async def test_a_long_answer_to_a_slow_reader_is_not_cut_by_leaving(
    server: ModelServer, http: aiohttp.ClientSession
) -> None:
    server.padding = "x" * 8_000_000
    async with SidecarProcess("--upstream", server.url, env=AT_ONCE) as sidecar:
        async with http.post(sidecar.url + CHAT, json=ASK) as answer:
            sidecar.terminate()
            await sidecar.line("draining")
            await asyncio.sleep(0.5)
            body = await answer.json()
        assert len(body["padding"]) == len(server.padding)
        assert await sidecar.exit_code() == 0


async def test_it_lingers_until_its_last_counters_were_read(
    server: ModelServer, http: aiohttp.ClientSession
) -> None:
    env = {"TIDEGATE_DRAIN_ACCEPT_S": "0", "TIDEGATE_LINGER_S": "600"}
    async with SidecarProcess("--upstream", server.url, env=env) as sidecar:
        await stats(http, sidecar)
        assert await chat(http, sidecar) == 200
        sidecar.terminate()
        await eventually(lambda: _refuses(sidecar.url))
        await asyncio.sleep(0.3)
        assert sidecar.process.returncode is None
        assert (await stats(http, sidecar)).arrived == 1
        assert await sidecar.exit_code() == 0


async def test_it_stays_until_its_last_counters_are_saved(
    server: ModelServer, http: aiohttp.ClientSession
) -> None:
    """By the operator's own reader, whose first last look is lost with it."""
    env = {"TIDEGATE_DRAIN_ACCEPT_S": "0", "TIDEGATE_LINGER_S": "600", "TIDEGATE_POD_UID": "uid-7"}
    async with (
        SidecarProcess("--upstream", server.url, env=env) as sidecar,
        Sidecars(Clock(), pull_timeout_s=20.0) as source,
    ):
        host, port = sidecar.admin.removeprefix("http://").split(":")

        async def look(saved: str) -> SidecarStats:
            found = await source.look([Address("uid-7", host, int(port), saved)])
            stats = found["uid-7"]
            assert stats is not None
            return stats

        first = await look("")
        assert await chat(http, sidecar) == 200
        sidecar.terminate()
        await eventually(lambda: _refuses(sidecar.url))
        last = await look(first.look)
        assert (last.arrived, last.leaving) == (1, True)
        await asyncio.sleep(0.3)
        assert sidecar.process.returncode is None, "it was told, and not that this was kept"
        assert await look("") == last
        await source.look([Address("uid-7", host, int(port), last.look)])
        assert await sidecar.exit_code() == 0
    assert sidecar.lines[-1]["unread"] is False


async def test_with_its_policy_gone_it_owes_nobody_a_look(
    server: ModelServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Else a namespace that is being deleted would wait for the whole grace period of each pod."""
    file = tmp_path / "config.json"
    file.write_bytes(BIG.to_json())
    env = {"TIDEGATE_DRAIN_ACCEPT_S": "0", "TIDEGATE_LINGER_S": "600"}
    flags = ("--upstream", server.url, "--config", str(file))
    async with SidecarProcess(*flags, env=env) as sidecar:
        await stats(http, sidecar)
        assert await chat(http, sidecar) == 200
        file.write_bytes(SidecarConfig().to_json())
        await eventually(lambda: sidecar.events().count("config_applied") == 2)
        sidecar.terminate()
        assert await sidecar.exit_code() == 0
    assert sidecar.lines[-1]["unread"] is False


async def test_its_waits_follow_the_clock_that_it_is_given(
    server: ModelServer, http: aiohttp.ClientSession
) -> None:
    """Five seconds of accepting and 600 of lingering are half a second and a bit at 1200x."""
    env = {**Clock(1200.0).to_env(), "TIDEGATE_LINGER_S": "600"}
    async with SidecarProcess("--upstream", server.url, env=env) as sidecar:
        await stats(http, sidecar)
        assert await chat(http, sidecar) == 200
        sidecar.terminate()
        assert await sidecar.exit_code(within_s=20) == 0


async def test_a_config_from_a_file_holds_and_is_followed(
    server: ModelServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(BLOCKED.to_json())
    flags = ("--upstream", server.url, "--config", str(file))
    async with SidecarProcess(*flags, env=AT_ONCE) as sidecar:
        assert await chat(http, sidecar) == 429
        assert (await stats(http, sidecar)).config_hash == BLOCKED.hash
        file.write_bytes(BIG.to_json())
        await eventually(lambda: sidecar.events().count("config_applied") == 2)
        assert await chat(http, sidecar) == 200
    assert sidecar.events()[0] == "config_applied", "before the first request is let in"


async def test_the_hub_is_heard_before_the_first_request_and_the_disk_remembers(
    server: ModelServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("secret-1")
    made = selfmade_ca.make(tmp_path)
    hub = FakeHub(Clock())
    await hub.start(tls=made.server)
    async with hub:
        hub.give(BLOCKED)
        env = {
            **AT_ONCE,
            "TIDEGATE_UPSTREAM": server.url,
            "TIDEGATE_HUB_URL": hub.url,
            "TIDEGATE_HUB_CA": made.ca_pem,
            "TIDEGATE_TOKEN_FILE": str(tmp_path / "token"),
            "TIDEGATE_WORKLOAD": "Deployment/llama",
            "TIDEGATE_STATE_DIR": str(tmp_path / "state"),
        }
        async with SidecarProcess(env=env) as sidecar:
            assert await chat(http, sidecar) == 429
            await eventually(lambda: hub.reports)
            sidecar.terminate()
            assert await sidecar.exit_code() == 0
        assert sidecar.events() == ["config_applied", "started", "draining", "stopped"]
    async with SidecarProcess(env=env) as restarted:  # the hub is gone by now
        assert await chat(http, restarted) == 429
        await restarted.line("hub_away")
    assert restarted.lines[0]["source"] == "disk"
    assert "secret-1" not in str(sidecar.lines + restarted.lines)


def run(*flags: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_")}
    return subprocess.run(
        [sys.executable, "-m", "tidegate_sidecar", *flags],
        env=inherited | (env or {}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("flags", "env", "line"),
    [
        pytest.param(
            ["--listen", "nowhere"],
            {},
            "tidegate-sidecar: --listen must be HOST:PORT, such as 127.0.0.1:14100, "
            "was: 'nowhere'\n",
            id="a wrong flag",
        ),
        pytest.param(
            [],
            {"TIDEGATE_UPSTREAM": "ftp://x"},
            "tidegate-sidecar: TIDEGATE_UPSTREAM must be like http://host:8000 or "
            "https://host/path, was: 'ftp://x'\n",
            id="a wrong variable",
        ),
        pytest.param(
            [],
            {"TIDEGATE_CLOCK": "soon"},
            "tidegate-sidecar: TIDEGATE_CLOCK must be SPEED@REAL=ORIGIN, was: 'soon'\n",
            id="a wrong clock",
        ),
        pytest.param(
            ["--config", "/no/such.json"],
            {},
            "tidegate-sidecar: --config must be a file that can be read "
            "(No such file or directory), was: '/no/such.json'\n",
            id="a config that is not there",
        ),
    ],
)
def test_what_is_set_up_wrongly_is_one_line_and_exit_2(
    flags: list[str], env: dict[str, str], line: str
) -> None:
    done = run(*flags, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.parametrize("taken_flag", ["--listen", "--admin"])
def test_a_taken_port_is_one_line_and_exit_2(taken_flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = {"--listen": "127.0.0.1:0", "--admin": "127.0.0.1:0", taken_flag: address}
        done = run(*(word for pair in flags.items() for word in pair))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"tidegate-sidecar: {taken_flag} must be an address that is free "
        f"(address already in use), was: {address}\n"
    )


def test_help_and_version_need_nothing_and_say_what_there_is() -> None:
    text = run("--help").stdout
    for word in ("--listen", "--upstream", "--admin", "--config", "127.0.0.1:14100"):
        assert word in text
    builds = ("tidegate-sidecar 0.1.0 (compiled)\n", "tidegate-sidecar 0.1.0 (pure)\n")
    assert run("--version").stdout in builds


def _refuses(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return True
    return False
