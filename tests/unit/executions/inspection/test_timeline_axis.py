"""The axis of a timeline: order is kept, everything has its place, and long idle times are collapsed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from executions.inspection.timeline_axis import Axis

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


SECONDS = st.integers(0, 10_000_000).map(lambda each: each / 100)


@given(st.lists(st.tuples(SECONDS, SECONDS), max_size=20), st.lists(SECONDS, min_size=2, max_size=20))
def test_places_are_ordered_and_within_the_axis(spans: list[tuple[float, float]], asked: list[float]) -> None:
    axis = Axis(at(0), at(100_000), [(at(min(span)), at(max(span))) for span in spans])
    places = [axis.place(at(each)) for each in sorted(asked)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert sum(gap.width for gap in axis.gaps) <= 34
    for gap in axis.gaps:
        assert not any(at(min(span)) < gap.end and gap.start < at(max(span)) for span in spans if span[0] != span[1])
