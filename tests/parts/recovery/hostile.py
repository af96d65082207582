from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.hostile.expected import ENDING, FAILURES, TAMPERING
from tests.parts.recovery.cluster import RETRY_LIMIT
from tests.parts.recovery.verdict import Promise

PIPELINE = "tests.hostile"
VERSION = "h1"
STATUSES = (70, 128 + 11)
"""The exit statuses of workers that the tricks in `ENDING` end."""


@dataclass(frozen=True, slots=True)
class HostileJob:
    """One submission. `trick` is what its step does. The trick "well" behaves correctly."""

    number: int
    trick: str

    pipeline = PIPELINE

    @property
    def key(self) -> str:
        return f"hostile-{self.number}"

    @property
    def failure(self) -> tuple[str | None, bool]:
        return FAILURES.get(self.trick, (None, False))

    @property
    def attempts(self) -> int:
        return RETRY_LIMIT if self.failure[1] else 0

    def input(self, runs: str) -> dict[str, Any]:
        return {"number": self.number, "trick": self.trick, "runs": runs}

    def steps(self, version: str) -> Iterator[tuple[str, int]]:
        yield from (("act", attempt) for attempt in range(self.attempts + 1))

    def promise(self, execution_id: str, pin: tuple[str, str, str], runs: str) -> Promise:
        code, retryable = self.failure
        end = "SUCCEEDED" if code is None else "RETRIES_EXHAUSTED" if retryable else "FAILED"
        return Promise(
            key=self.key,
            execution_id=execution_id,
            pin=pin,
            status="DLQ" if retryable else end,
            attempt=self.attempts,
            path=("SUBMITTED", *["RETRY_SCHEDULED"] * self.attempts, end),
            result=[{"value": self.number}] if code is None else None,
            error=code,
        )


def hostile_jobs(rng: Random, count: int) -> list[HostileJob]:
    """A tenth end their worker in the first run, a fifth change their process, and a fifth behave correctly."""
    kinds = [list(ENDING), *[list(TAMPERING)] * 2, *[list(FAILURES)] * 5, *[["well"]] * 2]
    return [HostileJob(number, rng.choice(kinds[number % len(kinds)])) for number in range(count)]
