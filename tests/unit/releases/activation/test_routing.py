"""The routing of a gradual activation: stable, monotone, and evenly distributed."""

from hypothesis import given
from hypothesis import strategies as st

from releases.activation.gradual.routing import BUCKETS, Routing, bucket

IDS = st.uuids().map(str)
KEYS = st.text(max_size=200)
LIMITS = st.integers(0, BUCKETS)


@given(IDS, KEYS, LIMITS, LIMITS)
def test_a_greater_share_keeps_every_key_that_has_the_candidate(
    gradual_id: str, key: str, one: int, other: int
) -> None:
    less, more = sorted((one, other))
    assert Routing(gradual_id, less).takes(key) <= Routing(gradual_id, more).takes(key)


@given(IDS, KEYS)
def test_no_share_takes_no_key_and_the_whole_share_takes_every_key(gradual_id: str, key: str) -> None:
    assert 0 <= bucket(gradual_id, key) == bucket(gradual_id, key) < BUCKETS
    assert not Routing(gradual_id, 0).takes(key)
    assert Routing(gradual_id, BUCKETS).takes(key)


@given(IDS, KEYS)
def test_groups_get_the_candidate_at_any_share(gradual_id: str, key: str) -> None:
    routing = Routing(gradual_id, 0, frozenset({"beta"}), frozenset({"token:ci"}))
    assert routing.takes(key, tags=["other", "beta"])
    assert routing.takes(key, actor="token:ci")
    assert not routing.takes(key, tags=["Beta"], actor="user:ci")


def test_buckets_stay_as_they_are() -> None:
    """Another hash would move callers in the middle of a gradual activation."""
    assert bucket("0f7f4dd8-7a8e-4b0e-9d3f-8a0d1f6f4f11", "order-1") == 3996
