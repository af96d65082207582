from datetime import UTC, datetime, timedelta

import pytest

from foundation.admin.columns import cut
from foundation.spans import relative

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SHOWN = {
    -1: "1 s ago",
    -119: "119 s ago",
    -120: "2 min ago",
    -149: "2 min ago",
    -150: "3 min ago",
    -7199: "120 min ago",
}
SHOWN |= {-7200: "2 h ago", -9000: "3 h ago", 179: "in 2 min", 86_400: "in 24 h", 172_800: "in 2 d", 0: "0 s ago"}


@pytest.mark.parametrize(("seconds", "text"), SHOWN.items())
def test_past_times_round_to_the_nearest_and_future_ones_down_but_never_to_one_unit(seconds: int, text: str) -> None:
    assert relative(NOW + timedelta(seconds=seconds), NOW) == text


def test_a_long_text_is_cut_in_the_middle_and_stays_whole_in_the_page() -> None:
    assert cut("short<b>") == "short&lt;b&gt;"
    shown = cut("order-1-" + "x" * 30 + "-<b>", most=12)
    assert shown.startswith(f'<span title="order-1-{"x" * 30}-&lt;b&gt;">order-<span class="dc-cut"><span>1-xxx')
    assert shown.endswith("x</span></span>xx-&lt;b&gt;</span>")
