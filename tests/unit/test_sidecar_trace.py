"""A trace is taken from a header that is valid to the letter and recorded, and from no other."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.trace import sampled_trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        pytest.param(f"00-{TRACE}-{PARENT}-01", True, id="recorded"),
        pytest.param(f"00-{TRACE}-{PARENT}-03", True, id="recorded, and its id random"),
        pytest.param(f"00-{TRACE}-{PARENT}-ff", True, id="recorded, and flags to come"),
        pytest.param(f"00-{TRACE}-{PARENT}-00", False, id="not recorded"),
        pytest.param(f"00-{TRACE}-{PARENT}-02", False, id="random, but not recorded"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01", True, id="a later version"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01-what", True, id="a later version that says more"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01what", False, id="more without a dash"),
        pytest.param(f"ff-{TRACE}-{PARENT}-01", False, id="the version that is none"),
        pytest.param(f"00-{TRACE}-{PARENT}-01-what", False, id="version 00 that says more"),
        pytest.param(f"00-{TRACE}-{PARENT}-01-", False, id="version 00 with a dash to end"),
        pytest.param(f"00-{TRACE.upper()}-{PARENT}-01", False, id="capital digits"),
        pytest.param(f"00-{TRACE}-{PARENT.upper()}-01", False, id="capital digits of the parent"),
        pytest.param(f"00-{'0' * 32}-{PARENT}-01", False, id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", False, id="no parent"),
        pytest.param(f"00-{TRACE[1:]}-{PARENT}-01", False, id="a digit too few"),
        pytest.param(f"00-{TRACE}0-{PARENT}-01", False, id="a digit too many"),
        pytest.param(f"00-{TRACE}-{PARENT}", False, id="no flags"),
        pytest.param(f"00-{TRACE}-{PARENT}-1", False, id="flags of one digit"),
        pytest.param(f"0-{TRACE}-{PARENT}-01", False, id="a version of one digit"),
        pytest.param(f"00_{TRACE}_{PARENT}_01", False, id="other dashes"),
        pytest.param(f" 00-{TRACE}-{PARENT}-01", False, id="a space before"),
        pytest.param(f"00-{TRACE}-{PARENT}-01\n", False, id="a line end after"),
        pytest.param(f"00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01", False, id="twice"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_a_header_names_a_trace(header: str, taken: bool) -> None:
    assert sampled_trace(header.encode()) == (TRACE if taken else "")


@given(st.text(string.hexdigits + "-") | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_what_is_taken_can_stand_on_a_page(header: str) -> None:
    trace = sampled_trace(header.encode("latin-1"))
    assert trace == "" or (len(trace) == 32 and set(trace) <= set("0123456789abcdef"))
