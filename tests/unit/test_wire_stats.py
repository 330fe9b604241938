"""A look at a sidecar: cumulative, readable by an older and a newer operator."""

import json
from dataclasses import replace

import pytest

from tidegate_wire.config import WireError
from tidegate_wire.names import ConfigState, Outcome
from tidegate_wire.stats import TTFT_BOUNDS_S, EngineLoad, Series, SidecarStats

STATS = SidecarStats(
    pod_uid="u1",
    boot="b1",
    arrived=12,
    in_flight=1,
    config_hash="abc",
    config_state=ConfigState.APPLIED,
    series=(
        Series(
            model="llama-70b",
            tenant="acme",
            outcomes={Outcome.OK: 7, Outcome.TIMEOUT: 1, Outcome.CANCELLED: 1, Outcome.BLOCKED: 5},
            tokens_in=100,
            tokens_out=50,
        ),
    ),
    ttft_counts=(3, *(0 for _ in TTFT_BOUNDS_S)),
)


def test_a_look_survives_the_wire() -> None:
    assert SidecarStats.from_json(STATS.to_json()) == STATS


@pytest.mark.parametrize(
    ("outcome", "ended", "error"),
    [
        (Outcome.OK, 1, 0),
        (Outcome.CLIENT_ERROR, 1, 0),
        (Outcome.SERVER_ERROR, 1, 1),
        (Outcome.CONNECT_ERROR, 1, 1),
        (Outcome.RESET, 1, 1),
        (Outcome.TIMEOUT, 1, 1),
        (Outcome.PROTOCOL_ERROR, 1, 1),
        (Outcome.CANCELLED, 1, 0),
        (Outcome.BROKEN, 1, 1),
        (Outcome.BLOCKED, 0, 0),
    ],
)
def test_each_outcome_is_an_error_only_if_the_model_server_failed(
    outcome: Outcome, ended: int, error: int
) -> None:
    series = Series(model="m", tenant="", outcomes={outcome: 1})
    assert (series.ended, series.errors) == (ended, error)


def test_blocked_requests_are_neither_ended_nor_errors() -> None:
    assert STATS.series[0].ended == 9
    assert STATS.series[0].errors == 1


def test_an_older_sidecar_tells_no_first_tokens_and_that_is_not_none_of_them() -> None:
    body = json.loads(STATS.to_json())
    del body["ttft_counts"]
    assert SidecarStats.from_json(json.dumps(body).encode()).ttft_counts == ()


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([1, 2], id="too few"),
        pytest.param([-1] + [0] * len(TTFT_BOUNDS_S), id="less than nothing"),
        pytest.param([0.5] + [0] * len(TTFT_BOUNDS_S), id="half an answer"),
        pytest.param([True] + [0] * len(TTFT_BOUNDS_S), id="a yes"),
        pytest.param(7, id="no list"),
    ],
)
def test_first_tokens_that_cannot_be_counts_are_refused(counts: object) -> None:
    body = json.loads(STATS.to_json()) | {"ttft_counts": counts}
    with pytest.raises(WireError):
        SidecarStats.from_json(json.dumps(body).encode())


def test_fields_of_a_newer_sidecar_are_left_alone() -> None:
    body = json.loads(STATS.to_json())
    body["zone"] = "b"
    body["series"][0]["colour"] = "blue"
    assert SidecarStats.from_json(json.dumps(body).encode()) == STATS


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"schema_version": 2, "series": []}', id="another version"),
        pytest.param(b'{"schema_version": 1}', id="no series"),
        pytest.param(
            b'{"schema_version": 1, "series": [], "config_state": "MAYBE"}', id="unknown state"
        ),
        pytest.param(
            b'{"schema_version": 1, "config_state": "NONE",'
            b' "series": [{"model": "m", "tenant": "", "outcomes": [3]}]}',
            id="outcomes that are a list",
        ),
        pytest.param(
            b'{"schema_version": 1, "config_state": "NONE",'
            b' "series": [{"model": "m", "tenant": "", "tokens_in": -3}]}',
            id="tokens below nothing",
        ),
        pytest.param(
            b'{"schema_version": 1, "config_state": "NONE",'
            b' "series": [{"model": "m", "tenant": "", "cost": NaN}]}',
            id="a cost that is no number",
        ),
    ],
)
def test_what_is_no_look_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError, match="stats"):
        SidecarStats.from_json(raw)


ENGINE = EngineLoad(engine="vllm", waiting=3, running=8, kv_cache_usage=0.42)


def test_what_the_model_server_says_survives_the_wire() -> None:
    stats = replace(STATS, engine=ENGINE)
    assert SidecarStats.from_json(stats.to_json()) == stats


def test_an_older_sidecar_says_nothing_of_it() -> None:
    body = json.loads(STATS.to_json())
    del body["engine"]
    assert SidecarStats.from_json(json.dumps(body).encode()) == STATS


@pytest.mark.parametrize(
    ("engine", "read"),
    [
        pytest.param({"engine": "new", "swapped": 3}, EngineLoad(engine="new"), id="new words"),
        pytest.param(
            {"engine": "vllm", "waiting": -1, "running": "8", "kv_cache_usage": True},
            EngineLoad(engine="vllm"),
            id="no numbers",
        ),
        pytest.param({"waiting": 3}, None, id="nobody's"),
        pytest.param([3], None, id="no object"),
    ],
)
def test_what_can_not_be_understood_of_it_costs_nothing_else(
    engine: object, read: EngineLoad | None
) -> None:
    body = json.loads(STATS.to_json()) | {"engine": engine}
    assert SidecarStats.from_json(json.dumps(body).encode()) == replace(STATS, engine=read)
