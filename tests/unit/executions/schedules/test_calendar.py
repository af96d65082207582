from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from executions.schedules.calendar import Calendar, expanded, unknown_places

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
HOLIDAYS = {"exceptions": ("2026-12-24/2027-01-01", "2027-01-03")}
ALL_DAYS = {"exceptions": ("2026-01-01/9999-12-31",)}
TWO_DAYS = {"starts_at": datetime(2026, 12, 5, 12, tzinfo=UTC), "ends_at": datetime(2026, 12, 7, 12, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("after", "cron", "zone", "more", "expected"),
    [
        # The clock goes from 02:00 to 03:00: a time in the gap fires at its end, and only once.
        ("2026-03-28T12:00Z", "30 2 * * *", BERLIN, {}, ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("2026-03-28T12:00Z", "0,30 2 * * *", BERLIN, {}, ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        # The clock goes from 03:00 to 02:00: a time that exists twice fires once, also after a start between.
        ("2026-10-24T12:00Z", "30 2 * * *", BERLIN, {}, ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("2026-10-25T01:15Z", "30 2 * * *", BERLIN, {}, ["2026-10-26T02:30+01:00", "2026-10-27T02:30+01:00"]),
        ("2026-10-25T00:15Z", "30 * * * *", BERLIN, {}, ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
        # Exceptions are dates of the time zone.
        ("2026-12-23T10:00Z", "30 0 * * *", BERLIN, HOLIDAYS, ["2027-01-02T00:30+01:00", "2027-01-04T00:30+01:00"]),
        ("2026-12-23T10:00Z", "* * * * *", "UTC", ALL_DAYS, []),
        ("2026-12-23T10:00Z", "* * * * *", "America/New_York", ALL_DAYS, []),
        # Places whose clocks change at midnight, or by half an hour.
        ("2026-03-07T12:00Z", "30 0 * * *", "America/Havana", {}, ["2026-03-08T01:00-04:00", "2026-03-09T00:30-04:00"]),
        ("2026-10-03T00:00Z", "15 2 * * *", LORD_HOWE, {}, ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
        ("2026-10-03T15:20Z", "45 * * * *", LORD_HOWE, {}, ["2026-10-04T02:45+11:00", "2026-10-04T03:45+11:00"]),
        ("2026-04-04T14:30Z", "45 * * * *", LORD_HOWE, {}, ["2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30"]),
        ("2026-04-04T13:59Z", "* 2 * * *", "Pacific/Chatham", {}, ["2026-04-05T02:45+12:45", "2026-04-05T02:46+12:45"]),
        ("2026-03-01T00:00Z", "0 0 29 2 *", "Asia/Tokyo", {}, ["2028-02-29T00:00+09:00", "2032-02-29T00:00+09:00"]),
        # The start is included, the end is not.
        ("2026-12-01T00:00Z", "0 12 * * *", "UTC", TWO_DAYS, ["2026-12-05T12:00+00:00", "2026-12-06T12:00+00:00"]),
    ],
)
def test_times(after: str, cron: str, zone: str, more: dict[str, Any], expected: list[str]) -> None:
    times = Calendar(cron, zone, **more).upcoming(datetime.fromisoformat(after), 2)
    assert [at.isoformat(timespec="minutes") for at in times] == expected


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("cron", ["", "* * * *", "0 * * * * *", "@daily", "61 * * * *", "0 0 30 2 *", "0 0 * * 5L/2", "٣ * * * *"]),
        ("time_zone", ["", "Mars", "../x", "/etc/passwd", "UTC\0", "localtime", "right/UTC"]),
        ("exceptions", [["2026-02-30"], ["2026-1-1"], ["2026-02-02/2026-02-01"], ["2026-01-01"] * 401]),
        ("starts_at", [datetime(2027, 1, 1, tzinfo=UTC)]),
    ],
)
def test_what_is_not_valid_is_refused(field: str, values: list[Any]) -> None:
    valid: dict[str, Any] = {"cron": "0 2 * * *", "ends_at": datetime(2027, 1, 1, tzinfo=UTC)}
    for value in values:
        assert len(Calendar(**{**valid, field: value}).problems()) == 1, value


def test_the_template_replaces_whole_texts_only() -> None:
    days = ["{{ scheduledDate }}", "on {{scheduledDate}}"]
    template = {"at": "{{scheduledAt}}", "day": days, "n": 1, "of": "{{scheduleName}}"}
    at = datetime(2026, 12, 24, 23, 30, tzinfo=UTC)
    filled = {"at": "2026-12-24T23:30:00Z", "day": ["2026-12-25", "on {{scheduledDate}}"], "n": 1, "of": "nightly"}
    assert expanded(template, at=at, zone=ZoneInfo(BERLIN), name="nightly") == filled
    assert list(unknown_places({"a": ["{{when}}", "{{scheduledAt}}"], "b": "{{x}} y"})) == ["input.a[0]"]
