"""Times that people type: days and times of their zone, moments, and spans."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

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
