"""Charts of stacked bars as numbers that a template draws as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 120
GAP: Final = 0.2
"""The share of a bar's place that stays empty."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one name: one for each interval."""

    name: str
    values: Sequence[int]

    @property
    def total(self) -> int:
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line with a text. `place` is its time in intervals from the start of the picture."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle of the picture. `layer` is the number of the layer, from 0."""

    x: float
    y: float
    width: float
    height: float
    layer: int


@dataclass(frozen=True, slots=True)
class Line:
    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of layers of bars. `top` is the value at its upper edge."""

    layers: Sequence[Layer]
    bars: Sequence[Bar]
    lines: Sequence[Line]
    top: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def total(self) -> int:
        return sum(layer.total for layer in self.layers)

    @property
    def highest(self) -> int:
        """The largest value of one interval, over all layers."""
        return max(map(sum, zip(*(layer.values for layer in self.layers), strict=True)), default=0)


def stacked(layers: Sequence[Layer], marks: Sequence[Mark] = ()) -> Chart:
    """Return the chart of layers with equally many values, the first layer at the bottom."""
    count = max((len(layer.values) for layer in layers), default=0)
    heights = [sum(layer.values[place] for layer in layers) for place in range(count)]
    top = _round_up(max(heights, default=0))
    slot = WIDTH / count if count else WIDTH
    bars = []
    for place in range(count):
        base = float(HEIGHT)
        for number, layer in enumerate(layers):
            if value := layer.values[place]:
                height = HEIGHT * value / top
                base -= height
                x = slot * (place + GAP / 2)
                bars.append(Bar(round(x, 2), round(base, 2), round(slot * (1 - GAP), 2), round(height, 2), number))
    lines = [Line(round(slot * mark.place, 2), mark.text) for mark in marks if 0 <= mark.place <= count]
    return Chart(layers, bars, lines, top)


def _round_up(value: int) -> int:
    """Return the next number that is 1, 2 or 5 times a power of ten, at least 1."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10
