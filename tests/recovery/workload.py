"""What the campaign submits, and what each execution must come to: derived from its number alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.recovery.cluster import RETRY_LIMIT
from tests.recovery.verdict import Promise

PIPELINE = "tests.chaotic"
FIRST_STEPS = {"v1": ("prepare",), "v2": ("check", "prepare")}
LAST_STEPS = ("settle", "file")


@dataclass(frozen=True, slots=True)
class Job:
    """One submission. Its first failing step fails `early` times, the one after the person's answer `late` times.

    `early` beyond RETRY_LIMIT ends in DLQ; without `accepted` the last steps end it FAILED.
    """

    number: int
    seconds: float
    early: int
    late: int
    accepted: bool

    pipeline = PIPELINE

    @property
    def key(self) -> str:
        return f"job-{self.number}"

    @property
    def hopeless(self) -> bool:
        return self.early > RETRY_LIMIT

    def input(self, runs: str) -> dict[str, Any]:
        return {"number": self.number, "runs": runs, "seconds": self.seconds, "early": self.early, "late": self.late}

    def asked(self, runs: str, version: str) -> dict[str, Any]:
        """What the person is asked: the order, with the trail of the steps before."""
        return {**self.input(runs), "trail": _trail(version, FIRST_STEPS[version])}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"accepted": self.accepted, "order": asked}

    def steps(self, version: str) -> Iterator[tuple[str, int]]:
        """Every step that must run, with the attempt at which it does."""
        attempt = 0
        for step in (*FIRST_STEPS[version], *LAST_STEPS):
            last = attempt + {"prepare": self.early, "settle": self.late}.get(step, 0)
            if self.hopeless and step == "prepare":
                last = RETRY_LIMIT
            yield from ((step, each) for each in range(attempt, last + 1))
            attempt = last
            if (step == "prepare" and self.hopeless) or (step == "settle" and not self.accepted):
                return

    def path(self, version: str) -> Iterator[str]:
        yield "SUBMITTED"
        if self.hopeless:
            yield from ["RETRY_SCHEDULED"] * RETRY_LIMIT
            yield "RETRIES_EXHAUSTED"
            return
        yield from ["RETRY_SCHEDULED"] * self.early
        yield from ("AWAITING", "AWAIT_COMPLETED")
        yield from ["RETRY_SCHEDULED"] * self.late
        if not self.accepted:
            yield "FAILED"
            return
        yield from ("AWAITING", "AWAIT_COMPLETED", "SUCCEEDED")

    def promise(self, execution_id: str, pin: tuple[str, str, str], runs: str) -> Promise:
        version = pin[2]
        result = None
        status = "DLQ" if self.hopeless else "SUCCEEDED" if self.accepted else "FAILED"
        if status == "SUCCEEDED":
            result = [{"number": self.number, "trail": _trail(version, (*FIRST_STEPS[version], *LAST_STEPS))}]
        return Promise(
            key=self.key,
            execution_id=execution_id,
            pin=pin,
            status=status,
            attempt=RETRY_LIMIT if self.hopeless else self.early + self.late,
            path=tuple(self.path(version)),
            result=result,
            answer=None if self.hopeless else self.answer(self.asked(runs, version)),
        )


def jobs(rng: Random, count: int) -> list[Job]:
    return [_job(rng, number) for number in range(count)]


def _job(rng: Random, number: int) -> Job:
    early = rng.choice([0, 0, 0, 1, 2]) if rng.random() < 0.95 else RETRY_LIMIT + 1
    late = 0 if early > RETRY_LIMIT else rng.choice([0, 0, 0, min(1, RETRY_LIMIT - early)])
    # Most steps are short; some are long enough to be struck while they run.
    seconds = rng.uniform(0.5, 1.5) if rng.random() < 0.15 else rng.uniform(0, 0.1)
    return Job(number, round(seconds, 3), early, late, accepted=rng.random() < 0.9)


def _trail(version: str, steps: tuple[str, ...]) -> str:
    return " ".join(f"{version}.{step}" for step in steps)
