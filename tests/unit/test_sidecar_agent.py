"""How a sidecar comes by its config, and what it keeps to when the giver errs."""

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import selfmade_ca
from hub import FakeHub, eventually
from tidegate_sidecar.agent import BACKOFF_MAX_S, PACE_S, FileAgent, HubAgent, open_socket
from tidegate_sidecar.inforce import ConfigInForce
from tidegate_sidecar.settings import InvalidSettingError, SidecarSettings
from tidegate_wire.clock import Clock
from tidegate_wire.config import Do, Model, Order, SidecarConfig
from tidegate_wire.names import ConfigState

FAST = 100.0
"""A poll that is held for 55 s ends after 0.55 real ones."""
CHEAP = SidecarConfig(policy="ns/p", models=(Model(name="big"), Model(name="small")))
ORDER = Order(do=Do.SWITCH, model="small", reason="ErrorRateHigh", expires_at=2e9)
SWITCHED = replace(CHEAP, order=ORDER)


class Memory:
    """A data path and a log that only remember; ``refuse`` makes the data path fail."""

    def __init__(self) -> None:
        self.applied: list[SidecarConfig] = []
        self.failures: list[str] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.refuse = False

    def apply(self, config: SidecarConfig) -> None:
        if self.refuse:
            raise LookupError("no such thing")
        self.applied.append(config)

    def log(self, event: str, /, **fields: str | float | bool) -> None:
        self.lines.append((event, fields))

    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


class Setup:
    """One agent beside one hub."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(FAST)
        self.memory = Memory()
        self.hub = FakeHub(self.clock)
        self.token_file = folder / "token"
        self.token_file.write_text("secret-1\n")
        self.state_dir = folder / "state"
        self.hub_ca = ""
        self.renew()

    def renew(self) -> None:
        """A new process: only the disk remembers."""
        self.in_force = ConfigInForce(
            apply=self.memory.apply,
            failed=self.memory.failures.append,
            log=self.memory.log,
            state_dir=self.state_dir,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HubAgent]:
        settings = SidecarSettings(
            hub_url=self.hub.url,
            hub_ca=self.hub_ca,
            workload="Deployment/llama",
            token_file=self.token_file,
            state_dir=self.state_dir,
        )
        agent = HubAgent(
            settings=settings, clock=self.clock, in_force=self.in_force, log=self.memory.log
        )
        task = asyncio.create_task(agent.run())
        try:
            yield agent
            assert not task.done(), "the agent must outlive whatever it meets"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def report(self) -> tuple[str, str]:
        """State and hash that the hub was told last."""
        last = self.hub.reports[-1] if self.hub.reports else {"state": "", "hash": ""}
        return last["state"], last["hash"]


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    setup = Setup(tmp_path)
    async with setup.hub:
        yield setup


async def test_the_first_config_is_applied_reported_and_kept(setup: Setup) -> None:
    etag = setup.hub.give(CHEAP)
    async with setup.running() as agent:
        await eventually(lambda: setup.hub.reports and agent.tried.is_set())
    assert setup.memory.applied == [CHEAP]
    assert setup.hub.reports == [{"hash": etag, "state": "APPLIED", "error": ""}]
    assert (setup.in_force.hash, setup.in_force.state) == (etag, ConfigState.APPLIED)
    assert SidecarConfig.from_json((setup.state_dir / "config.json").read_bytes()) == CHEAP
    assert [p.name for p in setup.state_dir.iterdir()] == ["config.json"]
    first = setup.hub.polls[0]
    assert (first.workload, first.token) == ("Deployment/llama", "secret-1")
    assert (first.if_none_match, first.prefer) == ("", "wait=0")


async def test_an_unchanged_config_is_held_and_neither_applied_nor_told_again(
    setup: Setup,
) -> None:
    etag = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: len(setup.hub.polls) >= 4)
    assert {(p.if_none_match, p.prefer) for p in setup.hub.polls[1:]} == {(etag, "wait=55")}
    gaps = [b.at - a.at for a, b in pairwise(setup.hub.polls[1:])]
    assert min(gaps) >= 50, gaps
    assert len(setup.memory.applied) == len(setup.hub.reports) == 1
    assert setup.memory.events() == ["config_applied"]


async def test_a_change_during_a_held_poll_arrives_at_once(setup: Setup) -> None:
    setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: len(setup.hub.polls) == 2)
        changed_at = setup.clock.monotonic()
        etag = setup.hub.give(SWITCHED)
        await eventually(lambda: setup.report == ("APPLIED", etag))
    assert setup.memory.applied == [CHEAP, SWITCHED]
    assert setup.clock.monotonic() - changed_at < 50, "must not wait for the poll to run out"


async def test_a_hub_that_answers_at_once_is_not_asked_in_a_loop(setup: Setup) -> None:
    setup.hub.give(CHEAP.to_json(), etag="")  # no ETag: it cannot say that nothing changed
    async with setup.running():
        await eventually(lambda: len(setup.hub.polls) >= 10)
    spent_s = setup.hub.polls[-1].at - setup.hub.polls[0].at
    assert spent_s >= (len(setup.hub.polls) - 1) * PACE_S * 0.9
    assert len(setup.memory.applied) == 1


REJECTED = {
    "garbage": (b"<html>502</html>", "config must be JSON"),
    "text that is not UTF-8": (b"\xff\xfe\x00", "config must be JSON"),
    "nothing": (b"", "config must be JSON"),
    "a list": (b"[]", "config must be an object"),
    "brackets without end": (b"[" * 200_000, ""),
    "a schema of tomorrow": (
        b'{"schema_version":2,"models":[]}',
        "config.schema_version must be 1, was: 2",
    ),
    "an order to a model that is not listed": (
        replace(SWITCHED, models=(Model(name="big"),)).to_json(),
        "order.model must be one of ['big'], was: 'small'",
    ),
    "more than a config can be": (
        b" " * (4 * 1024 * 1024 + 1),
        "config must be at most 4194304 bytes",
    ),
}


@pytest.mark.parametrize(("raw", "message"), REJECTED.values(), ids=REJECTED.keys())
async def test_a_config_that_does_not_validate_is_reported_and_the_old_one_stays(
    setup: Setup, raw: bytes, message: str
) -> None:
    old = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", old))
        setup.hub.give(raw, etag="bad0")
        await eventually(lambda: setup.report == ("FAILED", "bad0"))
        assert message in setup.hub.reports[-1]["error"]
        polls = len(setup.hub.polls)
        await eventually(lambda: len(setup.hub.polls) > polls + 1)
        assert setup.hub.polls[-1].if_none_match == "bad0", "must wait for another, not reload it"
        assert setup.memory.events() == ["config_applied", "config_rejected"]
        assert setup.memory.applied == [CHEAP]
        assert (setup.in_force.hash, setup.in_force.state) == (old, ConfigState.FAILED)
        kept = SidecarConfig.from_json((setup.state_dir / "config.json").read_bytes())
        assert kept == CHEAP
        setup.hub.give(CHEAP)
        await eventually(lambda: setup.report == ("APPLIED", old))
    assert setup.memory.events()[-1] == "config_applied"
    assert setup.in_force.error == ""


async def test_a_config_that_the_data_path_cannot_take_is_reported_and_counted(
    setup: Setup,
) -> None:
    old = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", old))
        setup.memory.refuse = True
        new = setup.hub.give(SWITCHED)
        await eventually(lambda: setup.report == ("FAILED", new))
    assert setup.hub.reports[-1]["error"] == "LookupError: no such thing"
    assert setup.memory.failures == ["config_apply"]
    assert setup.in_force.hash == old


@pytest.mark.parametrize(
    ("faults", "kinds"),
    [
        pytest.param([401] * 5, ["refused"], id="a token that is not taken is one line"),
        pytest.param([500] * 5, ["error"], id="a hub in trouble is one line"),
        pytest.param([503, 401, 503, 401], ["error", "refused"], id="each kind of trouble is one"),
        pytest.param([302, 204], ["error"], id="a redirect is not followed, nor is no content"),
    ],
)
async def test_a_hub_that_cannot_help_is_asked_again_and_told_of_once(
    setup: Setup, faults: list[int], kinds: list[str]
) -> None:
    etag = setup.hub.give(CHEAP)
    setup.hub.faults = list(faults)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", etag))
        # The hub has the report before the sidecar has the hub's answer to it.
        await eventually(lambda: "hub_back" in setup.memory.events())
    away = [fields["kind"] for event, fields in setup.memory.lines if event == "hub_away"]
    assert away == kinds
    assert setup.memory.events().count("hub_back") == 1


async def test_the_waits_between_attempts_grow_are_jittered_and_are_bounded(setup: Setup) -> None:
    setup.hub.faults = [500] * 100
    async with setup.running():
        await eventually(lambda: len(setup.hub.polls) >= 10)
    at = [poll.at for poll in setup.hub.polls[:10]]
    gaps = [b - a for a, b in pairwise(at)]
    for n, gap in enumerate(gaps):
        ceiling = min(BACKOFF_MAX_S, 2.0**n)
        slack_s = 50.0  # half a real second of a busy machine
        assert ceiling / 2 * 0.9 <= gap <= ceiling + slack_s, (n, gaps)


async def test_a_config_of_a_newer_operator_counts_as_the_one_that_it_is(setup: Setup) -> None:
    newer = CHEAP.to_json().replace(b"{", b'{"a_field_of_tomorrow":1,', 1)
    etag = hashlib.sha256(newer).hexdigest()[:16]
    setup.hub.give(newer, etag)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", etag))
    assert setup.in_force.hash == etag
    assert setup.memory.applied == [CHEAP]


async def test_a_report_that_is_not_taken_is_made_again(setup: Setup) -> None:
    setup.hub.report_faults = [500, 500]
    etag = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", etag))
    assert setup.memory.applied == [CHEAP]


async def test_with_the_hub_away_at_start_the_last_good_config_goes_on(setup: Setup) -> None:
    etag = setup.hub.give(SWITCHED)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", etag))
    port = setup.hub.port
    await setup.hub.stop()
    setup.hub.polls.clear()
    setup.hub.reports.clear()
    setup.memory.applied.clear()
    setup.memory.lines.clear()

    setup.renew()
    setup.in_force.restore()
    assert setup.memory.applied == [SWITCHED]
    assert (setup.in_force.hash, setup.in_force.state) == (etag, ConfigState.APPLIED)
    async with setup.running() as agent:
        await eventually(agent.tried.is_set)
        await eventually(lambda: "hub_away" in setup.memory.events())
        await setup.hub.start(port=port)
        await eventually(lambda: setup.report == ("APPLIED", etag))
        await eventually(lambda: "hub_back" in setup.memory.events())
    assert setup.memory.events() == ["config_applied", "hub_away", "hub_back"]
    assert setup.memory.lines[1][1]["kind"] == "unreachable"
    assert (setup.hub.polls[0].if_none_match, setup.hub.polls[0].prefer) == (etag, "wait=0")
    assert setup.memory.applied == [SWITCHED]


async def test_a_hub_that_restarts_is_told_again_what_is_in_force(setup: Setup) -> None:
    etag = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: len(setup.hub.polls) >= 2)
        port = setup.hub.port
        await setup.hub.stop()
        await eventually(lambda: "hub_away" in setup.memory.events())
        setup.hub.reports.clear()
        await setup.hub.start(port=port)
        await eventually(lambda: setup.report == ("APPLIED", etag))
    assert setup.memory.applied == [CHEAP]


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(b'{"schema_version":1,"mod', id="half a file"),
        pytest.param(b"", id="an empty file"),
        pytest.param(b'{"schema_version":9}', id="a file of a later version"),
    ],
)
def test_a_damaged_last_good_config_is_told_of_and_passed_over(
    tmp_path: Path, kept: bytes
) -> None:
    setup = Setup(tmp_path)
    setup.state_dir.mkdir()
    (setup.state_dir / "config.json").write_bytes(kept)
    setup.in_force.restore()
    assert setup.memory.applied == []
    assert setup.in_force.hash == ""
    assert setup.memory.events() == ["config_rejected"]


def test_no_last_good_config_is_the_first_start_and_no_news(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    setup.in_force.restore()
    assert (setup.in_force.state, setup.memory.lines) == (ConfigState.NONE, [])


async def test_a_state_folder_that_cannot_be_written_stops_nothing(setup: Setup) -> None:
    setup.state_dir.write_text("a file where a folder should be")
    etag = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", etag))
    assert setup.memory.applied == [CHEAP]
    assert "state_write" in setup.memory.failures
    assert "state_write_failed" in setup.memory.events()


async def test_a_token_that_was_rotated_is_read_anew(setup: Setup) -> None:
    etag = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: setup.report == ("APPLIED", etag))
        setup.hub.token = "secret-2"
        setup.token_file.write_text("secret-2")
        etag = setup.hub.give(SWITCHED)
        await eventually(lambda: setup.report == ("APPLIED", etag))
        await eventually(lambda: setup.hub.polls[-1].token == "secret-2")


async def test_a_token_file_that_is_missing_is_waited_for(setup: Setup) -> None:
    setup.token_file.unlink()
    etag = setup.hub.give(CHEAP)
    async with setup.running():
        await eventually(lambda: "hub_away" in setup.memory.events())
        assert setup.hub.polls == [], "nothing is asked without a token"
        setup.token_file.write_text("secret-1")
        await eventually(lambda: setup.report == ("APPLIED", etag))
    assert setup.memory.lines[0][1]["kind"] == "token"
    assert str(setup.token_file) in setup.memory.lines[0][1]["detail"]


async def test_the_hubs_certificate_is_checked_against_its_own_authority(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    made = selfmade_ca.make(tmp_path)
    setup.hub_ca = made.ca_pem
    await setup.hub.start(tls=made.server)
    async with setup.hub:
        etag = setup.hub.give(CHEAP)
        async with setup.running():
            await eventually(lambda: setup.report == ("APPLIED", etag))


async def test_a_hub_that_another_authority_vouches_for_is_not_believed(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    (tmp_path / "other").mkdir()
    made, other = selfmade_ca.make(tmp_path), selfmade_ca.make(tmp_path / "other")
    setup.hub_ca = other.ca_pem
    await setup.hub.start(tls=made.server)
    async with setup.hub:
        setup.hub.give(CHEAP)
        async with setup.running():
            await eventually(lambda: "hub_away" in setup.memory.events())
        assert (setup.hub.polls, setup.memory.applied) == ([], [])


def test_a_ca_that_only_looks_like_one_is_refused_at_start(tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n"
    setup = Setup(tmp_path)
    with pytest.raises(InvalidSettingError, match=r"^TIDEGATE_HUB_CA must hold certificates"):
        HubAgent(
            settings=SidecarSettings(hub_url="https://hub", hub_ca=broken),
            clock=setup.clock,
            in_force=setup.in_force,
            log=setup.memory.log,
        )


async def test_the_token_never_reaches_the_log(setup: Setup) -> None:
    setup.hub.give(CHEAP)
    setup.hub.faults = [401, 500]
    async with setup.running():
        await eventually(lambda: "hub_back" in setup.memory.events())
    assert "secret-1" not in json.dumps(setup.memory.lines)


class TestFile:
    """A file as the giver."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "given.json"
        file.write_bytes(CHEAP.to_json())
        return file

    @pytest.fixture
    def own(self, tmp_path: Path) -> Setup:
        return Setup(tmp_path)

    @pytest.fixture
    def agent(self, file: Path, own: Setup) -> FileAgent:
        return FileAgent(file=file, clock=own.clock, in_force=own.in_force)

    async def test_it_is_applied_once_while_it_stays_the_same(
        self, agent: FileAgent, own: Setup
    ) -> None:
        for _ in range(3):
            await agent.look()
        assert own.memory.applied == [CHEAP]
        assert own.memory.events() == ["config_applied"]

    async def test_a_change_in_place_or_by_rename_is_seen(
        self, agent: FileAgent, own: Setup, file: Path
    ) -> None:
        await agent.look()
        file.write_bytes(SWITCHED.to_json())
        await agent.look()
        aside = file.with_suffix(".new")
        aside.write_bytes(CHEAP.to_json())
        aside.replace(file)
        await agent.look()
        assert own.memory.applied == [CHEAP, SWITCHED, CHEAP]

    async def test_a_bad_edit_leaves_the_old_config_and_is_told_of_once(
        self, agent: FileAgent, own: Setup, file: Path
    ) -> None:
        await agent.look()
        file.write_text("{")
        for _ in range(3):
            await agent.look()
        assert own.memory.applied == [CHEAP]
        assert own.memory.events() == ["config_applied", "config_rejected"]
        assert own.in_force.state is ConfigState.FAILED

    async def test_a_file_that_vanishes_changes_nothing_and_is_taken_when_it_returns(
        self, agent: FileAgent, own: Setup, file: Path
    ) -> None:
        await agent.look()
        file.unlink()
        for _ in range(3):
            await agent.look()
        assert own.memory.events() == ["config_applied", "config_rejected"]
        assert "No such file" in own.in_force.error
        file.write_bytes(SWITCHED.to_json())
        await agent.look()
        assert own.memory.applied == [CHEAP, SWITCHED]

    async def test_it_is_followed_by_the_clock(
        self, agent: FileAgent, own: Setup, file: Path
    ) -> None:
        task = asyncio.create_task(agent.run())
        await eventually(agent.tried.is_set)
        file.write_bytes(SWITCHED.to_json())
        await eventually(lambda: own.memory.applied == [CHEAP, SWITCHED], within_s=5.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems spell these options otherwise")
def test_a_hub_that_went_without_a_word_is_noticed_within_20_s() -> None:
    """A poll is held for 55 s, in which nothing is sent that could fail."""
    with open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as opened:
        options = [
            opened.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        unacknowledged_ms = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    idle_s, interval_s, asks = options
    assert idle_s + interval_s * asks <= 20
    assert 0 < unacknowledged_ms <= 20_000
