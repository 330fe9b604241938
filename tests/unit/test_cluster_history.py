"""The checkpoint: nothing is lost on the way, and nothing that is found can break a start."""

import gzip
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_cluster import MAPS, FakeApi, policy
from tidegate_operator.cluster.client import ApiError
from tidegate_operator.cluster.history import (
    HISTORY_KEY,
    Checkpoint,
    HistoryKeeper,
    decode_checkpoint,
    decode_history,
    encode_checkpoint,
    encode_history,
)
from tidegate_operator.decide.rungs import ModelCounts, Probing, Rung, TriggerMemory
from tidegate_operator.decide.words import Memory, Reason

META = policy()["metadata"]
FULL = Checkpoint(
    start_minute=29_453_760,
    counts=(60, None, 61, 0),
    recent=({"t": 1767225600, "rps": 1.5, "q50": None, "model": "llama-70b"},),
    looks={"looks": [["p1", "boot", 1.0, 2]]},
    ledger={"v": 1, "totals": []},
    memory=Memory(
        recommendations=((1.0, 2),),
        last_current=3,
        counts=((1.0, {"llama-70b": ModelCounts(ended=5, errors=1)}),),
        triggers={"errors": TriggerMemory(above_since=1.0)},
        rung=Rung.SWITCH,
        probing=Probing.HALF_OPEN,
        probe_base=ModelCounts(ended=1, errors=0),
        budget_rungs={"team-day/acme": Rung.WARN},
        last_reason=Reason.STEADY,
    ),
    cold_starts=(81.0, 92.5),
    calibration={"skill": 0.3},
)


def test_a_checkpoint_comes_back_as_it_was() -> None:
    assert decode_checkpoint(encode_checkpoint(FULL)) == (FULL, "")
    assert decode_history(encode_history(META, FULL)) == (FULL, "")


def test_equal_checkpoints_are_equal_bytes() -> None:
    assert encode_checkpoint(FULL) == encode_checkpoint(FULL)


def test_two_weeks_of_minutes_fit_into_a_config_map() -> None:
    counts = tuple((minute * 7919) % 900 for minute in range(14 * 1440))
    recent = tuple(
        {"t": n * 60, "rps": n / 7, "q50": n / 6, "q95": n / 5, "wanted": 3, "ready": 3}
        for n in range(1440)
    )
    size = len(encode_checkpoint(Checkpoint(start_minute=1, counts=counts, recent=recent)))
    assert size < 100_000


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param(b"nonsense", "can't be read", id="no gzip"),
        pytest.param(gzip.compress(b"nonsense"), "can't be read", id="no JSON"),
        pytest.param(gzip.compress(b"[]"), "can't be read", id="no object"),
        pytest.param(gzip.compress(b"{}"), "can't be read", id="no version"),
        pytest.param(gzip.compress(b'{"v": 99}'), "has version 99, not 1", id="from the future"),
        pytest.param(gzip.compress(b'{"v": 1}')[:-6], "can't be read", id="cut short"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_raised(raw: bytes, problem: str) -> None:
    checkpoint, said = decode_checkpoint(raw)
    assert checkpoint == Checkpoint()
    assert said.startswith(problem)


def test_a_memory_of_other_words_is_left_and_the_rest_is_kept() -> None:
    body = {"v": 1, "start_minute": 5, "counts": [1], "memory": {"rung": "Sideways"}}
    checkpoint, said = decode_checkpoint(gzip.compress(json.dumps(body).encode()))
    assert checkpoint == Checkpoint(start_minute=5, counts=(1,))
    assert said.startswith("memory can't be used")


def test_a_memory_of_an_older_version_is_read() -> None:
    body = {"v": 1, "memory": {"rung": "Switch", "forgotten_field": 1}}
    checkpoint, said = decode_checkpoint(gzip.compress(json.dumps(body).encode()))
    assert (checkpoint.memory, said) == (Memory(rung=Rung.SWITCH), "")


@given(st.binary(max_size=60))
def test_random_bytes_break_nothing(raw: bytes) -> None:
    assert decode_checkpoint(raw)[0] == Checkpoint()
    packed = gzip.compress(raw)
    assert isinstance(decode_checkpoint(packed)[1], str)
    data = {"binaryData": {HISTORY_KEY: raw.decode("latin-1")}}
    assert decode_history(data)[0] == Checkpoint()


async def test_a_keeper_saves_what_differs_and_loads_what_stands() -> None:
    api = FakeApi()
    keeper = HistoryKeeper(META)
    assert await keeper.load(api) == (Checkpoint(), "")
    assert await keeper.save(api, FULL)
    assert not await keeper.save(api, FULL)
    assert await HistoryKeeper(META).load(api) == (FULL, "")


async def test_what_the_api_server_cannot_give_is_raised_and_not_taken_for_empty() -> None:
    api = FakeApi()
    api.refuse["GET", MAPS] = 503
    with pytest.raises(ApiError):
        await HistoryKeeper(META).load(api)


async def test_one_that_would_not_fit_goes_without_the_pages_part() -> None:
    api, dice = FakeApi(), random.Random(1)
    noise = [{"t": n, "model": dice.randbytes(1000).hex()} for n in range(1440)]
    await HistoryKeeper(META).save(api, Checkpoint(counts=(1, 2), recent=noise))
    loaded, _ = await HistoryKeeper(META).load(api)
    assert (loaded.counts, loaded.recent) == ((1, 2), ())
