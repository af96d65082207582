"""The sentences in which an execution is explained."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence. If it names a time, that is `at`, between `text` and `rest`; or there are ids of `executions`."""

    text: str
    at: datetime | None = None
    rest: str = "."
    executions: tuple[uuid.UUID, ...] = ()

    def __str__(self) -> str:
        if self.at is None and not self.executions:
            return self.text
        named = ", ".join(map(str, self.executions)) if self.at is None else said(self.at)
        return f"{self.text} {named}{self.rest}"


def said(at: datetime) -> str:
    """Return a time as sentences name it, in UTC and to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
