"""Explains an execution: which code ran each step, when and where, what it waited for, and what happens next."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from executions.awaits import reassignment, recipients
from executions.explanation.code import Run, sentences_of
from executions.explanation.present import Present, Sentence, said
from executions.failures.queries import step_of
from executions.inspection.history import MOST_EVENTS, Recorded, recorded, rows_of
from executions.inspection.timeline import Bar, Kind, Row
from executions.models import Execution, states
from executions.models.states import State
from executions.schedules.schedules import fire_of
from executions.submission import places
from foundation.spans import lasting
from releases.models import Artifact
from releases.step_names import Step
from wire.documents.contract import TIMER
from wire.documents.execution_runs import Event, runs_of

MOST_ENTRIES: Final = 500
WORDS: Final = {
    Kind.WORK: ("ran for", "has run for"),
    Kind.FAILED: ("failed after", "failed after"),
    Kind.LOST: ("ran without an outcome for", "has run for"),
    Kind.START: ("waited to start for", "has waited to start for"),
    Kind.QUEUED: ("waited for a worker for", "has waited for a worker for"),
    Kind.RETRY: ("waited for a retry for", "has waited for a retry for"),
    Kind.AWAIT: ("waited for answers for", "has waited for answers for"),
    Kind.PAUSED: ("was paused for", "has been paused for"),
}
"""What a step did in a span of time that has ended, and in one that lasts."""
_FAILED: Final = (State.FAILED, State.DLQ)


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened at one time, or from then until `ended_at`. `step` is None if it was none of a step's.

    `text` says all of it in one sentence, but the traceback, which has `traceback` in lines.
    """

    kind: str
    at: datetime
    ended_at: datetime | None
    text: str
    step: Step | None = None
    attempt: int | None = None
    worker: str = ""
    artifact_digest: str | None = None
    environment: str | None = None
    durable_pipelines: str | None = None
    error_code: str = ""
    error_message: str | None = None
    traceback: list[str] = field(default_factory=list)

    @property
    def failure(self) -> Self | None:
        """The entry itself if it has an error."""
        return self if self.error_code else None


@dataclass(frozen=True, slots=True)
class Explanation:
    """An execution in words. `history` has its newest entries; `omitted` is true if there are older ones."""

    execution: Execution
    artifacts: list[Artifact]
    now: list[Sentence]
    following: list[Sentence]
    code: list[str]
    history: list[Entry]
    omitted: bool


def explain(execution: Execution, *, payloads: bool) -> Explanation:
    """Explain an execution. Without `payloads`, no message and no traceback of an error is contained."""
    present = Present(execution)
    events = recorded(execution)
    rows = rows_of(execution, present.at, events)
    artifacts = list(execution.release.artifacts.order_by("position"))
    pinned = frozenset(artifact.digest for artifact in artifacts)
    runs = runs_of((entry.event for entry in events), pinned, [row.step.name for row in rows] or None)
    entries = _Entries(execution, rows, events, runs.entries, payloads)
    history = sorted([*entries.moments(), *entries.spans()], key=lambda entry: entry.at)
    return Explanation(
        execution=execution,
        artifacts=artifacts,
        now=present.now(),
        following=present.following(),
        code=sentences_of(runs.entries),
        history=history[-MOST_ENTRIES:],
        omitted=len(history) > MOST_ENTRIES or len(events) == MOST_EVENTS < execution.event_count,
    )


class _Entries:
    """Puts the rows of a timeline, and the events that are in none of them, into words."""

    def __init__(
        self, execution: Execution, rows: Sequence[Row], events: Sequence[Recorded], runs: Iterable[Run], payloads: bool
    ) -> None:
        self._execution = execution
        self._rows = rows
        self._events = events
        self._by_sequence = {entry.event.sequence: entry.event for entry in events}
        self._runs = {run["sequence"]: run for run in runs}
        self._payloads = payloads
        self._timers = {index for index, step in enumerate(_steps_of(execution)) if step.get("awaitTransport") == TIMER}

    def spans(self) -> Iterator[Entry]:
        """Yield what steps did and waited for, but no wait for a worker that took no millisecond."""
        for row in self._rows:
            for bar in row.bars:
                if bar.kind is not Kind.QUEUED or bar.lasts or bar.end - bar.start >= timedelta(milliseconds=1):
                    yield self._span(row, bar)

    def moments(self) -> Iterator[Entry]:
        """Yield what people and the coordinator did, and failures in which no worker took part."""
        drawn = {bar.sequence for row in self._rows for bar in row.bars if bar.kind in (Kind.FAILED, Kind.LOST)}
        for entry in self._events:
            event = entry.event
            text = self._deed(entry)
            if text:
                yield Entry(event.kind.lower(), event.at, event.at, text)
            elif event.data.get("errorCode") and event.sequence not in drawn and event.status in _FAILED:
                index = event.data.get("stepIndex")
                step = step_of(self._execution.release, index) if isinstance(index, int) else None
                yield self._with_error(Entry("failed", event.at, event.at, f"{step or 'It'} failed", step), event)

    def _deed(self, entry: Recorded) -> str:
        """Say what a person or the coordinator did; empty for events of workers."""
        data = entry.event.data
        why = f": {data['reason']}" if data.get("reason") else ""
        if "replacedBy" in data:
            why = f", although its work had moved to {data['replacedBy']}{why}"
        match entry.event.kind:
            case "SUBMITTED" if data.get("resubmittedFrom"):
                at = data.get("checkpointStep")
                place = f", from its checkpoint before {step_of(self._execution.release, at)}" if at is not None else ""
                return f"{entry.actor} submitted it again from {data['resubmittedFrom']}{place}"
            case "SUBMITTED":
                fire = fire_of(self._execution)
                return f"{entry.actor} submitted it" + (f" for its time {said(fire.scheduled_at)}" if fire else "")
            case "REDRIVEN":
                return f"{entry.actor} re-drove it{why}"
            case "CANCELLED":
                return f"{entry.actor} cancelled it{why}"
            case states.EXPIRED:
                return "The coordinator cancelled it, because no worker had got it in time"
            case places.REPLACED:
                return f"The coordinator cancelled it, because the newer submission {data['executionId']} replaced it"
            case reassignment.EVENT:
                to = " or ".join(recipients.Addressees(data["assignee"], data["group"]).names)
                return f"{entry.actor} named other recipients of question {data['interactionId']}, {to}{why}"
            case "RESUBMITTED":
                return f"{entry.actor} resubmitted it on release {data['releaseVersion']}{why}"
        return ""

    def _span(self, row: Row, bar: Bar) -> Entry:
        run = self._runs.get(bar.sequence or 0, {})
        worker = bar.worker or (self._execution.lease_worker or "" if bar.lasts and bar.kind is Kind.WORK else "")
        entry = Entry(
            kind=bar.kind.value,
            at=bar.start,
            ended_at=None if bar.lasts else bar.end,
            text=self._sentence(row, bar, worker),
            step=row.step,
            attempt=bar.attempt,
            worker=worker,
            artifact_digest=run.get("artifactDigest"),
            environment=run.get("environment"),
            durable_pipelines=run.get("durablePipelines"),
        )
        event = self._by_sequence.get(bar.sequence or 0)
        failed = bar.kind is Kind.FAILED or (bar.kind is Kind.LOST and event is not None and event.status in _FAILED)
        if failed and event is not None and event.data.get("errorCode"):
            entry = self._with_error(entry, event)
        is_timer = bar.kind is Kind.AWAIT and row.step.index in self._timers
        return replace(entry, text=f"{entry.text}. {bar.note}".rstrip(" .")) if bar.note and not is_timer else entry

    def _sentence(self, row: Row, bar: Bar, worker: str) -> str:
        words = WORDS[bar.kind][bar.lasts]
        if bar.kind is Kind.AWAIT and row.step.index in self._timers:
            words = words.replace(" for answers", "")
        last = self._rows[min(bar.last, len(self._rows) - 1)]
        first = row.step.title
        steps = first if last.step.index <= row.step.index else f"{first} to {last.step.title}"
        place = f" on worker {worker}" if worker else ""
        attempt = f", in attempt {bar.attempt}" if bar.attempt is not None and (worker or bar.attempt > 1) else ""
        return f"{steps} {words} {lasting(bar.end - bar.start)}{place}{attempt}"

    def _with_error(self, entry: Entry, event: Event) -> Entry:
        """Return the entry with the error of the event. The message does not repeat the name of the step."""
        code = str(event.data["errorCode"])
        message = str(event.data.get("errorMessage") or "") if self._payloads else None
        said = (message or "").removeprefix(f'step "{entry.step.name}": ' if entry.step else "")
        text = f"{entry.text}: {code}" + (f": {said}" if said else "")
        traceback = str(event.data.get("traceback") or "").splitlines() if self._payloads else []
        return replace(entry, text=text, error_code=code, error_message=message, traceback=traceback)


def _steps_of(execution: Execution) -> list[dict[str, Any]]:
    contract = execution.release.contract
    return (contract.document.get("steps") or []) if contract else []
