"""The sentences in which an execution is explained."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence. If it names a time, that is `at`, between `text` and `rest`."""

    text: str
    at: datetime | None = None
    rest: str = "."

    def __str__(self) -> str:
        return self.text if self.at is None else f"{self.text} {said(self.at)}{self.rest}"


def said(at: datetime) -> str:
    """Return a time as sentences name it, in UTC and to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
