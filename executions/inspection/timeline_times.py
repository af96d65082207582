"""The times of a timeline: what a worker reported by the coordinator's clock, and places on the axis. Pure.

Long times in which nothing ran are collapsed on the axis.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from wire.documents.execution_runs import TOLERANCE

SHORTEST_GAP: Final = timedelta(milliseconds=100)

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Gap:
    """A collapsed time, with its place and width in per cent of the axis."""

    start: datetime
    end: datetime
    left: float
    width: float


class Axis:
    """The axis from `start` to `end`. `busy` are the spans that are never collapsed.

    A time between them is collapsed if it is longer than half of all that is busy. The collapsed times together take a
    third of the axis at most. Without anything busy, nothing is collapsed.
    """

    def __init__(self, start: datetime, end: datetime, busy: Iterable[Span]) -> None:
        pieces = list(_pieces(start, max(end, start), _merged(busy)))
        worked = sum((last - first for first, last, works in pieces if works), timedelta())
        limit = max(worked / 2, SHORTEST_GAP) if worked else timedelta.max
        collapsed = [not works and last - first > limit for first, last, works in pieces]
        narrow = worked / (2 * max(sum(collapsed), 1))
        lengths = [
            narrow if is_gap else last - first for (first, last, _), is_gap in zip(pieces, collapsed, strict=True)
        ]
        total = sum(lengths, timedelta()) or timedelta(microseconds=1)
        self._times = [first for first, _, _ in pieces] + [max(end, start)]
        self._places = [0.0]
        for length in lengths:
            self._places.append(self._places[-1] + 100 * (length / total))
        self.gaps = [
            Gap(first, last, self._places[n], self._places[n + 1] - self._places[n])
            for n, (first, last, _) in enumerate(pieces)
            if collapsed[n]
        ]

    def place(self, moment: datetime) -> float:
        """Return the place of a time in per cent. Times outside of the axis are at its ends."""
        if moment <= self._times[0]:
            return 0.0
        if moment >= self._times[-1]:
            return 100.0
        n = bisect_right(self._times, moment) - 1
        share = (moment - self._times[n]) / (self._times[n + 1] - self._times[n])
        return self._places[n] + share * (self._places[n + 1] - self._places[n])


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _pieces(start: datetime, end: datetime, busy: Sequence[Span]) -> Iterable[tuple[datetime, datetime, bool]]:
    """Yield the axis in pieces that are busy or idle throughout."""
    reached = start
    for first, last in busy:
        first, last = max(first, start), min(last, end)
        if first >= last:
            continue
        if first > reached:
            yield reached, first, False
        yield first, last, True
        reached = last
    if reached < end:
        yield reached, end, False


_PRECISION: Final = timedelta(milliseconds=2)
_NOTED: Final = timedelta(milliseconds=100)
"""A smaller difference of the clocks is not mentioned."""


def fitted(
    spans: Sequence[Sequence[int]], claimed: datetime, recorded: datetime
) -> tuple[list[tuple[datetime, datetime]], str] | None:
    """Return spans that a worker reported as times between claim and report. None if that is impossible.

    The clocks of workers differ from the coordinator's. If the spans lie outside, all are moved by the same time.
    """
    moments = [(moment(start), moment(end)) for start, end in spans]
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


def moment(milliseconds: int) -> datetime | None:
    """Return a time that a worker reported; None after the year 9999."""
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
