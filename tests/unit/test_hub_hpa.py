"""An HPA that is told the wanted count sets it to the pod where its tolerance is 0, as the
manifests of docs/scaling.md say; with the tolerance that it has by itself, it stays within a
tenth of it and never moves the other way.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_formula import hpa_replicas
from tidegate_operator.hub.keda import REPLICA_WEIGHT

counts = st.integers(1, 10_000)


@given(current=counts, wanted=counts)
def test_without_a_tolerance_it_is_the_wanted_count(current: int, wanted: int) -> None:
    value = wanted * REPLICA_WEIGHT
    assert hpa_replicas(current, value, REPLICA_WEIGHT, up=0.0, down=0.0) == wanted


@given(current=counts, wanted=counts)
def test_with_the_default_tolerance_it_is_the_wanted_count_or_stands_within_a_tenth(
    current: int, wanted: int
) -> None:
    found = hpa_replicas(current, wanted)
    assert found == wanted or (
        found == current and abs(wanted - current) <= 0.1 * current * (1 + 1e-9)
    )


@pytest.mark.parametrize(
    ("current", "wanted", "found"),
    [
        pytest.param(9, 10, 10, id="one more than nine is seen"),
        pytest.param(10, 11, 10, id="one more than ten is not"),
        pytest.param(10, 12, 12, id="two more than ten are"),
        pytest.param(9, 8, 8, id="one less than nine is seen"),
        pytest.param(11, 10, 11, id="one less than eleven is not"),
        pytest.param(11, 9, 9, id="two less than eleven are"),
    ],
)
def test_from_ten_replicas_on_the_default_tolerance_swallows_a_pod(
    current: int, wanted: int, found: int
) -> None:
    assert hpa_replicas(current, wanted) == found


@given(current=st.integers(1, 9), wanted=counts)
def test_below_ten_replicas_the_default_tolerance_swallows_none(current: int, wanted: int) -> None:
    assert hpa_replicas(current, wanted) == wanted
