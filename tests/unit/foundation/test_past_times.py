from datetime import datetime
from zoneinfo import ZoneInfo

from foundation.past_times import RULE, read_past, rule_of
from tests.cases import cases
from tests.raising import error_of

BERLIN = ZoneInfo("Europe/Berlin")
TUESDAY = datetime(2026, 12, 1, 10, 30, tzinfo=BERLIN)
MEANT = {
    "last Tuesday 14:00": "2026-11-24T14:00", "Tuesday 9": "2026-12-01T09:00", "tue, 14:00": "2026-11-24T14:00",
    "on Friday at 8": "2026-11-27T08:00", "yesterday 9": "2026-11-30T09:00", "Yesterday at 2 pm": "2026-11-30T14:00",
    "the day before yesterday 7": "2026-11-29T07:00", "14:00": "2026-11-30T14:00", "9am": "2026-12-01T09:00",
    "12am": "2026-12-01T00:00", "Nov 26, 2pm": "2026-11-26T14:00", "26th of November 2025 at 9.30": "2025-11-26T09:30",
    "3 December": "2025-12-03T00:00", "14:00 on Friday": "2026-11-27T14:00", "3 days ago at 9": "2026-11-28T09:00",
    "29 February": "2024-02-29T00:00", "Thu 26 Nov 2026, 14:00:05": "2026-11-26T14:00:05",
    "2026-11-26 14:00:00 UTC": "2026-11-26T14:00+00:00", "2026-11-26 14:00:00 CET": "2026-11-26T14:00+01:00",
    "2026-10-25 02:30:00 CEST": "2026-10-25T02:30+02:00", "2026-10-25 02:30:00 CET": "2026-10-25T02:30+01:00",
    "2 hours ago": "2026-12-01T08:30+01:00", "7d": "2026-11-24T10:30", "2026-11-26": "2026-11-26T00:00",
    "2026-11-26T12:00:00z": "2026-11-26T12:00+00:00", "now": "2026-12-01T10:30+01:00", "yesterday": "2026-11-30T00:00",
    "2 days ago": "2026-11-29T10:30", "last week": "2026-11-24T10:30", "last month at 9": "2026-11-01T09:00",
    "Last year, 9:30": "2025-12-01T09:30", "13 months ago": "2025-11-01T10:30", "1 Dec 2026 9:30": "2026-12-01T09:30",
    "1.12.2026 09:30": "2026-12-01T09:30", "09.30 01.12.2026": "2026-12-01T09:30",
    "Mon 30.11. noon": "2026-11-30T12:00", "31/12/2025, 9am": "2025-12-31T09:00", "12-31-2025": "2025-12-31T00:00",
    "5/5/2026": "2026-05-05T00:00", "2026/1/31 14:00 UTC": "2026-01-31T14:00+00:00",
}  # fmt: skip


@cases(("text", "meant"), MEANT.items())
def test_a_time_is_read_as_people_write_it(text: str, meant: str) -> None:
    assert read_past(text, TUESDAY) == datetime.fromisoformat(meant)


SINCE = [("03:30", "2 hours ago", "2026-03-29T00:30+01:00"), ("10:00", "a day ago", "2026-03-28T10:00"),
         ("10:00", "last month", "2026-02-28T10:00")]  # fmt: skip


@cases(("now", "text", "meant"), SINCE)
def test_hours_are_counted_as_they_pass_and_longer_units_by_the_calendar(now: str, text: str, meant: str) -> None:
    after_the_switch = datetime.fromisoformat(f"2026-03-29T{now}").replace(tzinfo=BERLIN)
    assert read_past(text, after_the_switch) == datetime.fromisoformat(meant)


MEANINGLESS = ["", "foo", "last weekend", "31 February", "yesterday 25", "13pm", "may", "٣ hours ago",
               "Mon 26 Nov 2026", "9:00 EST", "2 hours ago 9", "31.13.2026", "1/0/2026", "3000 years ago"]  # fmt: skip
REFUSED = dict.fromkeys(MEANINGLESS, RULE) | {
    "1/12/2026 09:30": "must have one meaning: write 1 December 2026 or 12 January 2026",
    "noon 3-4-": "must have one meaning: write 3 April or 4 March",
    "01.12.26": "must have a year of four digits, such as 2026-01-31",
}


@cases(("text", "rule"), REFUSED.items())
def test_other_texts_are_refused(text: str, rule: str) -> None:
    assert rule_of(error_of(ValueError, read_past, text, TUESDAY)) == rule
