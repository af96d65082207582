"""The table of journeys in docs/contributing/journeys.md: how many clicks, or how many keys, each of them takes."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.product import PROJECT
from tests.parts.browser.journeys.person import Way

DOCUMENT = PROJECT / "docs" / "contributing" / "journeys.md"
RENEW = "RENEW_JOURNEYS"
ROW = re.compile(r"^\| (?P<name>[A-Z][^|]*) \| (?P<figures>[\d| -]+) \|$", re.MULTILINE)
RULER = "| --- | ---: | ---: | ---: |\n"
KEYS_VARY = 3
COLUMNS = ("mouse, 1280 px", "mouse, 360 px", "keyboard, 1280 px")


def recorded(function: str, way: Way, count: int) -> None:
    """Compare the count of a journey with the table, or write it there if RENEW_JOURNEYS is set.

    Clicks are equal. Keys may differ by KEYS_VARY: live parts of a page add links while a person tabs through it.
    """
    name = title(function)
    if RENEW in os.environ:
        with _written() as rows:
            rows.setdefault(name, ["-"] * len(COLUMNS))[COLUMNS.index(str(way))] = str(count)
    expected = rows_of(DOCUMENT).get(name, ["-"] * len(COLUMNS))[COLUMNS.index(str(way))]
    varies = KEYS_VARY if str(way) == COLUMNS[-1] else 0
    is_close = expected.isdigit() and abs(count - int(expected)) <= varies
    assert is_close, f"{name}, {way}: {count}, docs/contributing/journeys.md has {expected}. {RENEW}=1 renews it"


def title(function: str) -> str:
    return function.replace("_", " ").capitalize()


def rows_of(document: Path) -> dict[str, list[str]]:
    return {row["name"]: row["figures"].split(" | ") for row in ROW.finditer(document.read_text(encoding="utf-8"))}


@contextmanager
def _written() -> Iterator[dict[str, list[str]]]:
    """Write the rows that the block leaves. The table ends the document. Only one process at a time does so."""
    with DOCUMENT.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rows = rows_of(DOCUMENT)
        yield rows
        before = file.read().partition(RULER)[0]
        file.seek(0)
        file.write(before + RULER + "".join(f"| {name} | {' | '.join(rows[name])} |\n" for name in sorted(rows)))
        file.truncate()
