from datetime import timedelta

from django.template.loader import render_to_string

from foundation.admin.columns import LABEL_COLOURS, label
from foundation.spans import lasting
from tests.cases import cases


@cases("variant", [*LABEL_COLOURS, "unknown"])
def test_a_label_is_that_of_unfold(variant: str) -> None:
    drawn = render_to_string("unfold/helpers/label.html", {"text": "<b>", "variant": variant})
    assert "".join(label("<b>", variant).split()) == "".join(drawn.split())


@cases(
    ("span", "text"),
    [
        (timedelta(milliseconds=-1), "0 ms"),
        (timedelta(milliseconds=85), "85 ms"),
        (timedelta(seconds=3.25), "3.2 s"),
        (timedelta(minutes=3), "3 min"),
        (timedelta(minutes=4, seconds=10.9), "4 min 10 s"),
        (timedelta(hours=23, minutes=59), "23 h 59 min"),
        (timedelta(days=2, hours=3, minutes=59), "2 d 3 h"),
    ],
)
def test_a_duration_has_two_units_at_most(span: timedelta, text: str) -> None:
    assert lasting(span) == text
