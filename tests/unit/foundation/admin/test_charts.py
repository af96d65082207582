"""Charts of stacked bars."""

from foundation.admin.charts import HEIGHT, Layer, stacked


def test_bars_lie_on_one_another_and_their_heights_are_proportional() -> None:
    chart = stacked([Layer("a", [1, 2]), Layer("b", [3, 0])])
    assert [(bar.layer, bar.height) for bar in chart.bars] == [(0, 24.0), (1, 72.0), (0, 48.0)]
    assert [bar.y + bar.height for bar in chart.bars] == [HEIGHT, HEIGHT - 24, HEIGHT]
    assert (chart.top, chart.total, chart.highest) == (5, 6, 4)
