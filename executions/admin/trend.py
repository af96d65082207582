"""The picture of a trend: one bar for each hour, drawn as SVG by `executions/trend.html`."""

from collections.abc import Sequence
from dataclasses import dataclass

BAR, GAP, HEIGHT = 4, 1, 24


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the picture, and the number that it stands for. `hours_ago` 0 is the hour that ends now."""

    x: int
    y: int
    height: int
    count: str
    hours_ago: int


@dataclass(frozen=True, slots=True)
class Trend:
    """The bars, the size of the picture, and its text alternative."""

    bars: list[Bar]
    width: int
    height: int
    text: str


def trend(counts: Sequence[int], most: int) -> Trend:
    """Return the picture of `counts`, the last hour at the end. An hour with `most` may have had more."""
    highest = max([*counts, 1])
    bars = []
    for place, count in enumerate(counts):
        height = -(-count * HEIGHT // highest)
        bars.append(Bar(place * (BAR + GAP), HEIGHT - height, height, _number(count, most), len(counts) - 1 - place))
    text = f"{_number(counts[-1], most)} in the last hour, at most {_number(highest, most)} in an hour"
    if not any(counts):
        text = f"none in the last {len(counts)} hours"
    return Trend(bars, len(counts) * (BAR + GAP) - GAP, HEIGHT, text)


def _number(count: int, most: int) -> str:
    return f"{most:,} or more" if count >= most else f"{count:,}"
