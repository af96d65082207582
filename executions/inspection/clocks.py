"""Places the times that a worker reported on the coordinator's clock. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from wire.documents.execution_runs import TOLERANCE, reported_time

_PRECISION: Final = timedelta(milliseconds=2)
_NOTED: Final = timedelta(milliseconds=100)
"""A smaller difference of the clocks is not mentioned."""


def fitted(
    spans: Sequence[Sequence[int]], claimed: datetime, recorded: datetime
) -> tuple[list[tuple[datetime, datetime]], str] | None:
    """Return spans that a worker reported as times between claim and report. None if that is impossible.

    The clocks of workers differ from the coordinator's. If the spans lie outside, all are moved by the same time.
    """
    moments = [(reported_time(start), reported_time(end)) for start, end in spans]
    known = [(start, end) for start, end in moments if start is not None and end is not None and start <= end]
    if not known or len(known) < len(moments):
        return None
    first, last = min(start for start, _ in known), max(end for _, end in known)
    shift = max(claimed - first, timedelta()) or min(recorded - last, timedelta())
    if abs(shift) > TOLERANCE or last + shift > recorded + _PRECISION or first + shift < claimed - _PRECISION:
        return None
    note = f"The worker's clock differs by {abs(shift).total_seconds():.1f} s." if abs(shift) > _NOTED else ""
    return [
        (_within(start + shift, claimed, recorded), _within(end + shift, claimed, recorded)) for start, end in known
    ], note


def _within(at: datetime, first: datetime, last: datetime) -> datetime:
    return max(first, min(at, last))
