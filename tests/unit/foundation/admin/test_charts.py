"""Charts of stacked bars."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.admin.charts import HEIGHT, WIDTH, Layer, Mark, stacked

VALUES = st.integers(1, 40).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, 10**9), min_size=count, max_size=count), min_size=1, max_size=6)
)


@given(VALUES)
def test_bars_lie_in_the_picture_and_on_one_another(rows: list[list[int]]) -> None:
    chart = stacked([Layer(str(number), values) for number, values in enumerate(rows)])
    assert len(chart.bars) == sum(1 for values in rows for value in values if value)
    bases: dict[float, float] = {}
    for bar in chart.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH + 0.01
        assert bar.y >= -0.1
        assert bar.y + bar.height == pytest.approx(bases.get(bar.x, HEIGHT), abs=0.1)
        bases[bar.x] = bar.y
    assert chart.total == sum(map(sum, rows))
    assert chart.highest <= chart.top


def test_heights_are_proportional() -> None:
    chart = stacked([Layer("a", [1, 2]), Layer("b", [3, 0])])
    assert chart.top == 5
    assert [(bar.layer, bar.height) for bar in chart.bars] == [(0, 24.0), (1, 72.0), (0, 48.0)]
    assert (chart.total, chart.highest) == (6, 4)


def test_the_upper_edge_is_a_round_number_and_marks_lie_in_the_picture() -> None:
    for value, top in ((0, 1), (1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (49, 50), (51, 100)):
        assert stacked([Layer("a", [value])]).top == top
    chart = stacked([Layer("a", [1, 1, 1, 1])], [Mark(-1, "before"), Mark(2, "in"), Mark(4.1, "after")])
    assert [(line.x, line.text) for line in chart.lines] == [(WIDTH / 2, "in")]
    empty = stacked([])
    assert (empty.total, empty.highest, empty.bars) == (0, 0, [])
