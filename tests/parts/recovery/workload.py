from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.parts.recovery.cluster import RETRY_LIMIT
from tests.parts.recovery.verdict import Promise, Run

PIPELINE = "tests.chaotic"
FIRST_STEPS = {"v1": ("prepare",), "v2": ("check", "prepare")}
LAST_STEPS = ("settle", "file")


@dataclass(frozen=True, slots=True)
class Job:
    """One submission. The step before the interaction fails `early` times, the step after it `late` times.

    If `early` exceeds RETRY_LIMIT, the execution ends in DLQ, until a re-drive gives it the attempt that succeeds. If
    `accepted` is False, it ends in FAILED. `unwanted` ones are cancelled, if that happens before they end.
    """

    number: int
    seconds: float
    early: int
    late: int
    accepted: bool
    unwanted: bool = False

    pipeline = PIPELINE

    @property
    def key(self) -> str:
        return f"job-{self.number}"

    def input(self, runs: str) -> dict[str, Any]:
        return {"number": self.number, "runs": runs, "seconds": self.seconds, "early": self.early, "late": self.late}

    def interaction_request(self, runs: str, version: str) -> dict[str, Any]:
        return {**self.input(runs), "trail": _trail(version, FIRST_STEPS[version])}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"accepted": self.accepted, "order": request}

    def steps(self, version: str) -> Iterator[tuple[str, int]]:
        """Yield every step that must run, with the number of the attempt."""
        attempt = 0
        for step in (*FIRST_STEPS[version], *LAST_STEPS):
            last = attempt + {"prepare": self.early, "settle": self.late}.get(step, 0)
            yield from ((step, number) for number in range(attempt, last + 1))
            attempt = last
            if step == "settle" and not self.accepted:
                return

    def path(self, version: str) -> Iterator[str]:
        yield "SUBMITTED"
        yield from ["RETRY_SCHEDULED"] * min(self.early, RETRY_LIMIT)
        if self.early > RETRY_LIMIT:
            yield from ("RETRIES_EXHAUSTED", "REDRIVEN")
        yield from ("AWAITING", "AWAIT_COMPLETED")
        yield from ["RETRY_SCHEDULED"] * self.late
        if not self.accepted:
            yield "FAILED"
            return
        yield from ("AWAITING", "AWAIT_COMPLETED", "SUCCEEDED")

    def promise(self, execution_id: str, pin: tuple[str, str, str], runs: str) -> Promise:
        version = pin[2]
        result = None
        status = "SUCCEEDED" if self.accepted else "FAILED"
        if status == "SUCCEEDED":
            result = [{"number": self.number, "trail": _trail(version, (*FIRST_STEPS[version], *LAST_STEPS))}]
        return Promise(
            key=self.key,
            execution_id=execution_id,
            pin=pin,
            status=status,
            attempt=self.early + self.late,
            path=tuple(self.path(version)),
            result=result,
            answer=self.answer(self.interaction_request(runs, version)),
            may_be_cancelled=self.unwanted,
        )


def jobs(rng: Random, count: int) -> list[Job]:
    return [_job(rng, number) for number in range(count)]


def pin_of(response: dict[str, Any]) -> tuple[str, str, str]:
    pin = response["pin"]
    return pin["pipelineId"], pin["contractVersion"], pin["releaseVersion"]


def runs_of(file: Path) -> dict[str, list[Run]]:
    """Return the runs that steps have recorded, by execution."""
    runs: dict[str, list[Run]] = {}
    for line in file.read_text().splitlines():
        execution_id, step, version, attempt = line.split()
        runs.setdefault(execution_id, []).append(Run(execution_id, step, version, int(attempt)))
    return runs


def _job(rng: Random, number: int) -> Job:
    early = rng.choice([0, 0, 0, 1, 2]) if rng.random() < 0.95 else RETRY_LIMIT + 1
    late = 0 if early > RETRY_LIMIT else rng.choice([0, 0, 0, min(1, RETRY_LIMIT - early)])
    # Most steps are short. Some are long enough for their worker to be killed while they run.
    seconds = rng.uniform(0.5, 1.5) if rng.random() < 0.15 else rng.uniform(0, 0.1)
    return Job(number, round(seconds, 3), early, late, accepted=rng.random() < 0.9, unwanted=rng.random() < 0.08)


def _trail(version: str, steps: tuple[str, ...]) -> str:
    return " ".join(f"{version}.{step}" for step in steps)
