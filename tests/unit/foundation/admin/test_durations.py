"""Durations in words."""

from datetime import timedelta

from foundation.admin.durations import lasting
from tests.cases import cases


@cases(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0, "0 ms"),
        (0.0856, "85 ms"),
        (0.9999, "999 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400 * 2 + 3600 * 3, "2 d 3 h"),
    ],
)
def test_a_duration_has_its_two_longest_units(seconds: float, text: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == text
