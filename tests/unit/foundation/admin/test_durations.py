"""Durations in words."""

from datetime import timedelta

from foundation.admin.durations import lasting
from tests.cases import cases


@cases(
    ("seconds", "text"),
    [
        (0.9999, "999 ms"),
        (59.94, "59.9 s"),
        (250, "4 min 10 s"),
        (86400 * 2 + 3600 * 3, "2 d 3 h"),
    ],
)
def test_a_duration_has_its_two_longest_units(seconds: float, text: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == text
