"""Times that people type: days and times of their zone, moments, and spans."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from foundation import moments
from tests.cases import cases

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@cases(
    ("text", "expected"),
    [
        ("15m", NOW - timedelta(minutes=15)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-01-31", datetime(2026, 1, 30, 23, tzinfo=UTC)),
        ("2026-01-31 14:00", datetime(2026, 1, 31, 13, tzinfo=UTC)),
        ("2026-01-31T14:00:00Z", datetime(2026, 1, 31, 14, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_the_current_zone(text: str, expected: datetime) -> None:
    with timezone.override(ZoneInfo("Europe/Berlin")):
        assert moments.read(text, NOW) == expected


def test_another_text_is_refused() -> None:
    for text in ("", "7w", "2026-13-01", "-1h"):
        with pytest.raises(ValueError):  # noqa: PT011 - the caller says what is wrong
            moments.read(text, NOW)
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        with pytest.raises(OverflowError):
            moments.read(text, NOW)
