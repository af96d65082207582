"""Says which step of an execution failed, how often it was tried, and where a re-drive starts."""

from dataclasses import dataclass
from typing import Any, Final

from executions.models import DeadLetter, Execution
from releases.models import Release

REASONS: Final = {
    DeadLetter.Reason.RETRY_EXHAUSTED.value: "no retries left",
    DeadLetter.Reason.NON_RETRYABLE.value: "not retryable",
    DeadLetter.Reason.AWAIT_TIMEOUT.value: "not answered in time",
    DeadLetter.Reason.AWAIT_FAILED.value: "question not delivered",
    DeadLetter.Reason.LEASES_LOST.value: "workers lost",
    DeadLetter.Reason.RELEASE_REVOKED.value: "release revoked",
    DeadLetter.Reason.OUTCOME_UNKNOWN.value: "outcome unknown",
}
"""Why an execution failed."""
_FAILED_ATTEMPT = ("RETRY_SCHEDULED", "RETRIES_EXHAUSTED", "FAILED", "LEASES_LOST")
"""The kinds of events that end an attempt with a failure."""
_AWAIT_REASONS = (DeadLetter.Reason.AWAIT_TIMEOUT, DeadLetter.Reason.AWAIT_FAILED)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a contract. `name` is empty if the contract does not name it. People count steps from 1."""

    index: int
    name: str

    def __str__(self) -> str:
        number = f"step {self.index + 1}"
        return f"{self.name} ({number})" if self.name else number


def step_names(release: Release) -> list[str]:
    """Return the names of the contract's steps; none if the release has no contract."""
    return [str(step.get("authoredName") or "") for step in _steps(release)]


def step_of(release: Release, index: int) -> Step:
    """Return the step of `release` with this index."""
    steps = _steps(release)
    name = steps[index].get("authoredName") if 0 <= index < len(steps) else ""
    return Step(index, str(name or ""))


def _steps(release: Release) -> list[dict[str, Any]]:
    return (release.contract.document.get("steps") or []) if release.contract else []


def latest_failure(execution: Execution) -> DeadLetter | None:
    """Return the dead letter of the failure that ended the execution; None if it has not failed."""
    return DeadLetter.objects.filter(execution=execution, execution_version=execution.version).first()


def step_now(execution: Execution) -> Step:
    """Return the step that failed if the execution has failed. Otherwise return the step at which it is."""
    failure = latest_failure(execution)
    return step_of(execution.release, failure.failed_step_index if failure else execution.current_step_index)


def failed_attempts(execution: Execution) -> int:
    """Return how many attempts have failed. An await that was not answered in time is no attempt."""
    return execution.events.filter(kind__in=_FAILED_ATTEMPT).count()


def failed_attempts_until(letter: DeadLetter) -> int:
    """Return how many attempts of the execution had failed when this failure was recorded, including it."""
    return letter.execution.events.filter(kind__in=_FAILED_ATTEMPT, at__lte=letter.created_at).count()


def restart_of(execution: Execution) -> str:
    """Say in one sentence where a re-drive of a failed execution starts, and what it repeats."""
    step = step_of(execution.release, execution.current_step_index)
    failure = latest_failure(execution)
    if failure is not None and failure.reason in _AWAIT_REASONS:
        return f"It asks the questions of {step} again."
    if _has_checkpoint(execution):
        return f"It starts from its last checkpoint, at {step}. The steps before it do not run again."
    repeated = ""
    if failure is not None and failure.failed_step_index > execution.current_step_index:
        failed = step_of(execution.release, failure.failed_step_index)
        repeated = f" The steps before {failed}, which failed, run again too, because there is no checkpoint of them."
    start = "at the first step" if execution.current_step_index == 0 else "where the failed attempt started"
    return f"It starts {start}: {step}.{repeated}"


def _has_checkpoint(execution: Execution) -> bool:
    """True if the execution would start with the output of a checkpoint."""
    stored = execution.events.filter(kind="CHECKPOINT", data__nextStepIndex=execution.current_step_index)
    return execution.checkpoints and stored.exists()
