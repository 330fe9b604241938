"""What engines say is decided on in the mean of a minute; who says nothing has no empty queue."""

import pytest

from fake_cluster import stats
from tidegate_operator.decide.signs import EngineSigns
from tidegate_operator.ledger.engines import EngineHistory
from tidegate_wire.stats import EngineLoad, SidecarStats

NOW = 1_000_000.0


def look(waiting: int | None = None, usage: float | None = None) -> SidecarStats:
    return stats("p", 0, engine=EngineLoad(engine="vllm", waiting=waiting, kv_cache_usage=usage))


def history(*rounds: list[SidecarStats | None]) -> EngineHistory:
    """One round each 15 s; the last at NOW."""
    kept = EngineHistory()
    for n, answers in enumerate(rounds):
        at = NOW - 15 * (len(rounds) - 1 - n)
        kept.record(at, {f"p{i}": answer for i, answer in enumerate(answers)})
    return kept


def steady(answers: list[SidecarStats | None]) -> list[list[SidecarStats | None]]:
    return [answers] * 4


@pytest.mark.parametrize(
    ("rounds", "signs"),
    [
        pytest.param([], None, id="nothing, if nobody was asked"),
        pytest.param(steady([None, stats("p", 0)]), None, id="nothing, if nobody tells"),
        pytest.param(
            steady([look(4, 0.5), look(8, 0.7)]),
            EngineSigns(pods=2, waiting_per_pod=6.0, kv_cache_usage=pytest.approx(0.6)),
            id="the mean of the pods",
        ),
        pytest.param(
            steady([look(4), None, stats("p", 0)]),
            EngineSigns(pods=1, waiting_per_pod=4.0),
            id="without who is silent",
        ),
        pytest.param(
            steady([look(4), look(None, 0.9)]),
            EngineSigns(pods=2, waiting_per_pod=4.0, kv_cache_usage=0.9),
            id="each figure by who tells it",
        ),
        pytest.param([[look(100)]] * 3, None, id="nothing, before a minute was seen"),
        pytest.param(
            [[look(100)], [look(0)], [look(0)], [look(0)]],
            EngineSigns(pods=1, waiting_per_pod=25.0),
            id="of a spike a quarter",
        ),
        pytest.param(
            [[look(100)], *steady([look(0)])],
            EngineSigns(pods=1, waiting_per_pod=0.0),
            id="nothing of what is a minute old",
        ),
        pytest.param([*steady([look(9)]), *steady([None])], None, id="nothing unrepeated"),
        pytest.param(
            [*steady([look(9)]), [look(9), look(0)]],
            None,
            id="nothing, once one more pod shares the load",
        ),
        pytest.param(
            [*steady([look(9)]), *steady([look(2), look(2)])],
            EngineSigns(pods=2, waiting_per_pod=2.0),
            id="then what is since",
        ),
        pytest.param(
            [*steady([look(9), look(9)])[:2], [look(9), None], [look(9), look(9)]],
            EngineSigns(pods=2, waiting_per_pod=9.0),
            id="the same if a pod is silent once and comes back",
        ),
    ],
)
def test_the_signs_are(rounds: list[list[SidecarStats | None]], signs: EngineSigns | None) -> None:
    assert history(*rounds).signs() == signs
