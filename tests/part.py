"""The parts of `make test-all`: what takes longer than `make test` has, or needs more tools."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A part. `command` is run as `python -m`, after `bootstrap` has installed the groups and each tool of `.ci`."""

    proves: str
    command: Sequence[str]
    groups: Sequence[str] = ("test",)
    tools: Sequence[str] = ()
    root: str = ""
    """Why the part needs root. Empty: any user may run it."""


def _tests(folder: str) -> Sequence[str]:
    return ("pytest", "-n", "2", "--durations=10", f"tests/parts/{folder}")


PARTS: Mapping[str, Part] = {
    "browser": Part(
        "every page and journey in Chromium, with axe and the keyboard",
        _tests("browser"),
        tools=("install-chromium",),
    ),
}


def part_of_the_day(day: datetime.date) -> str:
    """Return the part whose turn it is. With one run each day, each part has its turn at least weekly."""
    names = list(PARTS)
    return names[day.toordinal() % len(names)]
