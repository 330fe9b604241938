"""A model server is waited for as long as its policy says, and what it failed to do is told in
words that name the limit.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.patience import Patience
from tidegate_wire.config import Timeouts

LIMITS = Timeouts(connect_s=3.0, first_token_s=30.0, idle_s=60.0, total_s=600.0)
START_S = 1000.0
NO_TOKEN = "sent no first token within 30 s"
NO_END = "did not finish within 600 s"
NOTHING = "sent nothing for 60 s"


def stream(*, began: bool = False) -> Patience:
    patience = Patience(LIMITS, START_S)
    patience.waits_for_first = True
    if began:
        patience.output_began(START_S + 1.0)
    return patience


def plain() -> Patience:
    return Patience(LIMITS, START_S)


@pytest.mark.parametrize(
    ("patience", "limit_s", "connecting", "answering", "refuses_body", "problem"),
    [
        pytest.param(
            plain(),
            3,
            True,
            False,
            False,
            "did not accept a connection within 3 s",
            id="connecting",
        ),
        pytest.param(stream(), 30, False, False, False, NO_TOKEN, id="a stream without a head"),
        pytest.param(stream(), 30, False, True, False, NO_TOKEN, id="a stream with a head alone"),
        pytest.param(
            stream(began=True), 60, False, True, False, NOTHING, id="a stream that stalls"
        ),
        pytest.param(plain(), 60, False, True, False, NOTHING, id="an answer that stalls"),
        pytest.param(
            plain(), 600, False, False, False, NO_END, id="an answer that is thought about"
        ),
        pytest.param(
            plain(), 60, False, False, True, "took nothing of the request for 60 s", id="an upload"
        ),
    ],
)
def test_each_limit_holds_to_the_second_and_is_named(
    patience: Patience,
    limit_s: float,
    connecting: bool,
    answering: bool,
    refuses_body: bool,
    problem: str,
) -> None:
    for after_s, said in ((limit_s - 0.001, ""), (limit_s, problem)):
        assert said == patience.overdue(
            START_S + after_s,
            connecting=connecting,
            answering=answering,
            refuses_body=refuses_body,
        )


def after_moving_each_second(patience: Patience, seconds: int) -> str:
    problem = ""
    for second in range(seconds + 1):
        patience.moved = True
        problem = patience.overdue(
            START_S + second, connecting=False, answering=True, refuses_body=False
        )
    return problem


def test_comments_and_pings_are_no_first_token() -> None:
    assert after_moving_each_second(stream(), 29) == ""
    assert after_moving_each_second(stream(), 30) == NO_TOKEN


def test_what_comes_keeps_a_stream_alive_until_the_end_of_all_patience() -> None:
    assert after_moving_each_second(stream(began=True), 599) == ""
    assert after_moving_each_second(stream(began=True), 600) == NO_END


def test_the_time_to_the_first_token_is_since_the_request_came() -> None:
    patience = stream()
    assert patience.ttft_s is None
    patience.output_began(START_S + 2.5)
    assert patience.ttft_s == 2.5
    assert not patience.waits_for_first


@given(
    st.lists(st.tuples(st.floats(0.0, 20.0), st.booleans(), st.booleans(), st.booleans())),
    st.booleans(),
)
def test_nobody_is_blamed_before_the_shortest_limit(
    looks: list[tuple[float, bool, bool, bool]], streams: bool
) -> None:
    patience = stream() if streams else plain()
    now = START_S
    for after_s, connecting, answering, refuses_body in looks:
        now += after_s
        problem = patience.overdue(
            now, connecting=connecting, answering=answering, refuses_body=refuses_body
        )
        assert problem == "" or now - START_S >= LIMITS.connect_s
