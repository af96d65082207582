from datetime import datetime

import pytest

from foundation.past_times import read_past
from tests.cases import cases

TUESDAY = datetime.fromisoformat("2026-12-01T10:30")
MEANT = {
    "last Tuesday 14:00": "2026-11-24T14:00",
    "Tuesday 9": "2026-12-01T09:00",
    "tue, 14:00": "2026-11-24T14:00",
    "on Friday at 8": "2026-11-27T08:00",
    "yesterday 9": "2026-11-30T09:00",
    "Yesterday at 2 pm": "2026-11-30T14:00",
    "monday noon": "2026-11-30T12:00",
    "the day before yesterday 7": "2026-11-29T07:00",
    "14:00": "2026-11-30T14:00",
    "9am": "2026-12-01T09:00",
    "12am": "2026-12-01T00:00",
    "Nov 26, 2pm": "2026-11-26T14:00",
    "26th of November 2025 at 9.30": "2025-11-26T09:30",
    "3 December": "2025-12-03T00:00",
    "2 hours ago": "2026-12-01T08:30",
    "a week ago": "2026-11-24T10:30",
    "7d": "2026-11-24T10:30",
    "2026-11-26 2pm": "2026-11-26T14:00",
    "2026-11-26": "2026-11-26T00:00",
    "2026-11-26T12:00:00z": "2026-11-26T12:00+00:00",
    "now": "2026-12-01T10:30",
}


@cases(("text", "meant"), MEANT.items())
def test_a_time_is_read_as_people_write_it(text: str, meant: str) -> None:
    assert read_past(text, TUESDAY) == datetime.fromisoformat(meant)


@cases("text", ["", "foo", "last week", "31 February", "yesterday 25", "13pm", "may", "1.12.2026", "٣ hours ago"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_past(text, TUESDAY)
