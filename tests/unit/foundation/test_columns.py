from datetime import UTC, datetime, timedelta

import pytest
from django.template.loader import render_to_string

from foundation.admin.columns import LABEL_COLOURS, cut, label
from foundation.spans import lasting, relative

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SHOWN = {-1: "1 s ago", -119: "119 s ago", -120: "2 min ago", -149: "2 min ago", -150: "3 min ago", 0: "0 s ago"}
SHOWN |= {-7199: "120 min ago", -7200: "2 h ago", -9000: "3 h ago", 179: "in 2 min", 86_400: "in 24 h"}
SHOWN |= {172_800: "in 2 d"}
LASTING = {-0.001: "0 ms", 0.085: "85 ms", 3.25: "3.2 s", 180: "3 min", 250.9: "4 min 10 s"}
LASTING |= {86_340: "23 h 59 min", 187_140: "2 d 3 h"}


@pytest.mark.parametrize(("seconds", "text"), SHOWN.items())
def test_past_times_round_to_the_nearest_and_future_ones_down_but_never_to_one_unit(seconds: int, text: str) -> None:
    assert relative(NOW + timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(("seconds", "text"), LASTING.items())
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("variant", [*LABEL_COLOURS, "unknown"])
def test_a_label_is_that_of_unfold(variant: str) -> None:
    drawn = render_to_string("unfold/helpers/label.html", {"text": "<b>", "variant": variant})
    assert "".join(label("<b>", variant).split()) == "".join(drawn.split())


def test_a_long_text_is_cut_in_the_middle_and_stays_whole_in_the_page() -> None:
    assert cut("short<b>") == "short&lt;b&gt;"
    shown = cut("order-1-" + "x" * 30 + "-<b>", most=12)
    assert shown.startswith(f'<span title="order-1-{"x" * 30}-&lt;b&gt;">order-<span class="dc-cut"><span>1-xxx')
    assert shown.endswith("x</span></span>xx-&lt;b&gt;</span>")
