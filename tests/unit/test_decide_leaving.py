"""A scale-down takes the pods with the fewest requests in flight, writes no more than that needs,
and never over what somebody else wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.decide.leaving import MARK, Candidate, mark_leaving

Row = tuple[int | None, int | None]
"""In flight, cost."""


def candidates(*rows: Row) -> list[Candidate]:
    return [
        Candidate(uid=f"p{n}", in_flight=in_flight, cost=cost)
        for n, (in_flight, cost) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "count", "changes"),
    [
        pytest.param([(3, None), (0, None), (5, None)], 1, {"p1": MARK}, id="the idlest pod goes"),
        pytest.param(
            [(3, None), (0, None), (5, None)], 2, {"p1": MARK, "p0": MARK}, id="then the next"
        ),
        pytest.param([(3, None), (0, None)], 0, {}, id="nobody goes: nothing is written"),
        pytest.param([(3, None), (0, None)], -1, {}, id="fewer are Ready than are wanted"),
        pytest.param([(0, MARK), (3, None)], 1, {}, id="a right mark is not written again"),
        pytest.param(
            [(7, MARK), (0, None)],
            1,
            {"p0": None, "p1": MARK},
            id="a pod that has work again is to stay",
        ),
        pytest.param([(7, MARK), (3, MARK)], 0, {"p0": None, "p1": None}, id="old marks go"),
        pytest.param([(0, None), (0, MARK)], 1, {}, id="of two idle pods the marked one goes"),
        pytest.param(
            [(None, None), (9, None)], 1, {"p1": MARK}, id="who could not be asked goes last"
        ),
        pytest.param([(0, 100), (9, None)], 1, {"p1": MARK}, id="what somebody else wrote stands"),
        pytest.param([(0, 0)], 1, {}, id="even if it says what is the default"),
        pytest.param([], 3, {}, id="there is nobody"),
    ],
)
def test_of_the_pods(rows: list[Row], count: int, changes: dict[str, int | None]) -> None:
    assert mark_leaving(candidates(*rows), count) == changes


ROWS = st.lists(
    st.tuples(st.none() | st.integers(0, 200), st.sampled_from([None, None, MARK, 0, 50])),
    max_size=30,
)


@given(rows=ROWS, count=st.integers(-2, 40))
def test_after_the_writes_exactly_those_that_go_are_marked(rows: list[Row], count: int) -> None:
    pods = candidates(*rows)
    changes = mark_leaving(pods, count)
    after = {pod.uid: changes.get(pod.uid, pod.cost) for pod in pods}
    assert all(changes.get(pod.uid, pod.cost) != pod.cost for pod in pods if pod.uid in changes)
    marked = [pod for pod in pods if after[pod.uid] == MARK]
    free = [pod for pod in pods if pod.cost in (None, MARK)]
    assert len(marked) == max(0, min(count, len(free)))
    staying = [pod.in_flight for pod in free if after[pod.uid] is None]
    for pod in marked:
        assert all(busy is None or (pod.in_flight or 0) <= busy for busy in staying)
    again = [Candidate(uid=p.uid, in_flight=p.in_flight, cost=after[p.uid]) for p in pods]
    assert mark_leaving(again, count) == {}, "and a second time nothing is written"
