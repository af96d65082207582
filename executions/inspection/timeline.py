"""Derives a timeline from the history of an execution: one row for each step, with bars for what happened when. Pure.

Only what is known is drawn. If a worker reported no times of its steps, one bar spans all steps that it may have run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from executions.models.states import TERMINAL, State
from releases.step_names import Step
from wire.documents.execution_runs import REPORTS, TOLERANCE, Event, fitted, reported_time


class Kind(StrEnum):
    """What a bar shows."""

    WORK = "work"
    FAILED = "failed"
    LOST = "lost"
    """A worker held the execution, and its outcome never counted."""
    START = "start"
    """It waited for the time that its submission names, or for its concurrency key and then for a worker."""
    QUEUED = "queued"
    RETRY = "retry"
    AWAIT = "await"
    PAUSED = "paused"


BUSY: Final = frozenset({Kind.WORK, Kind.FAILED, Kind.LOST})
"""The kinds during which a worker had the execution."""


class Progress(StrEnum):
    """How far a step is."""

    DONE = "done"
    INHERITED = "inherited"
    """The step ran in the execution that this one resubmits."""
    NOW = "now"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Bar:
    """A span of time. It belongs to the steps from that of its row to `last`.

    `lasts` is true if it has not ended. `attempt` counts from 1. `note` says what a reader must know. `sequence` is the
    number of the event that ended what a worker did.
    """

    kind: Kind
    start: datetime
    end: datetime
    last: int
    attempt: int | None = None
    worker: str = ""
    note: str = ""
    lasts: bool = False
    sequence: int | None = None


@dataclass(slots=True)
class Row:
    """A step of the contract."""

    step: Step
    progress: Progress = Progress.OPEN
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Await:
    """A wait for external answers. `closed_at` is null while it is open; `actors` are those who answered."""

    step_index: int
    opened_at: datetime
    closed_at: datetime | None
    expected: int
    answered: int
    actors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """A hold that covered the execution. `target` says what was paused: the execution, its release or its pipeline."""

    target: str
    actor: str
    started_at: datetime
    ended_at: datetime | None


def timeline(
    steps: Sequence[str],
    events: Iterable[Event],
    awaits: Sequence[Await],
    pauses: Sequence[Pause],
    *,
    now: datetime,
    running_since: datetime | None = None,
) -> list[Row]:
    """Return a row for each step, in the order of the steps. Bars are in the order of their starts.

    `steps` are the names of the contract's steps. It may be empty; then the rows are the steps that the events name.
    `events` are in their order. `running_since` is when a worker began the claim that has not ended, if it said so.
    """
    drawing = _Drawing(steps, awaits, now)
    for event in events:
        drawing.add(event)
    return drawing.finished(pauses, running_since)


@dataclass(slots=True)
class _Claim:
    """A claim that has not ended. `start` is the next step whose times are unknown. It did not begin before `since`."""

    at: datetime
    attempt: int
    start: int
    since: datetime


class _Drawing:
    def __init__(self, steps: Sequence[str], awaits: Sequence[Await], now: datetime) -> None:
        self._rows = [Row(Step(index, name)) for index, name in enumerate(steps)]
        self._named = bool(steps)
        self._awaits = awaits
        self._now = now
        self._claim: _Claim | None = None
        self._lost_claim: _Claim | None = None
        self._wait: tuple[Kind, datetime, str] | None = None
        self._not_before: datetime | None = None
        self._step = 0  # where the execution stands
        self._first = 0  # the step at which it was submitted
        self._failed: int | None = None
        self._status = ""
        self._ended_at: datetime | None = None
        self._stood: list[tuple[datetime, int]] = []
        self._listed: set[tuple[str, int, int, int]] = set()

    def add(self, event: Event) -> None:
        self._status = event.status
        if event.kind == "SUBMITTED":
            self._step = self._first = _number(event.data.get("checkpointStep")) or 0
        elif event.kind == "CLAIMED":
            self._claimed(event)
        elif event.kind == "CHECKPOINT":
            self._checkpoint(event)
        elif event.kind == "OUTCOME_DROPPED":
            self._dropped(event)
        elif self._claim is not None and (event.status != State.RUNNING or event.kind == "LEASE_RESTORED"):
            self._released(event, self._claim)
        if event.kind == "LEASE_RESTORED":
            self._claim = self._lost_claim
        self._note_failure(event)
        self._note_wait(event)
        self._stood.append((event.at, self._step))
        self._ended_at = event.at if event.status in TERMINAL else None

    def finished(self, pauses: Sequence[Pause], running_since: datetime | None) -> list[Row]:
        until = self._ended_at or self._now
        if self._claim is not None:
            self._running(self._claim, until, running_since)
        self._end_wait(until, lasts=self._ended_at is None)
        for waiting in self._awaits:
            self._bar(waiting.step_index, _await_bar(waiting, until))
        for pause in pauses:
            self._pause(pause, until)
        for row in self._rows:
            row.bars.sort(key=lambda bar: (bar.start, bar.end))
            row.progress = self._progress(row.step.index)
        return self._rows

    # --- claims and how they end ---

    def _claimed(self, event: Event) -> None:
        self._step = _number(event.data.get("stepIndex")) or 0
        self._end_wait(event.at)
        attempt = (_number(event.data.get("attempt")) or 0) + 1
        self._claim = _Claim(event.at, attempt, self._step, event.at)

    def _checkpoint(self, event: Event) -> None:
        self._step = _number(event.data.get("nextStepIndex")) or self._step
        if self._claim is None:
            return
        if not self._steps(Kind.WORK, self._claim, event):
            self._together(Kind.WORK, self._claim, event, self._step - 1)
        self._claim.start, self._claim.since = self._step, event.at

    def _released(self, event: Event, claim: _Claim) -> None:
        self._claim, self._lost_claim = None, claim if event.kind == "LEASE_EXPIRED" else self._lost_claim
        if event.kind not in REPORTS or "worker" not in event.data:
            note = _LOST.get(event.kind, "Ended without a report.")
            self._unknown(Kind.LOST, claim, event.at, note, event)
            return
        failed = event.status in _FAILURES
        if not self._steps(Kind.FAILED if failed else Kind.WORK, claim, event):
            self._together(Kind.FAILED if failed else Kind.WORK, claim, event, self._last_of(event, claim))
        if event.kind == "AWAITING":
            self._step = self._last_of(event, claim)

    def _dropped(self, event: Event) -> None:
        """Draw what a worker did after it had lost the lease. Its checkpoints have drawn some of it."""
        for index, start, end in event.data.get("steps") or ():
            began, ended = reported_time(start), reported_time(end)
            if self._is_new(event, index, start, end) and began and ended and began <= ended <= event.at + TOLERANCE:
                note = "Reported after the lease was lost, so it does not count."
                last = min(ended, max(began, event.at))
                self._bar(index, _reported(event, Bar(Kind.LOST, began, last, index, None, note=note)))

    def _running(self, claim: _Claim, until: datetime, since: datetime | None) -> None:
        """Draw the claim that has not ended. Until a worker says that it began, it is a wait."""
        if since is None and claim.since == claim.at:
            note = "Claimed. No worker has reported that it began."
            self._bar(claim.start, Bar(Kind.QUEUED, claim.at, until, claim.start, claim.attempt, note=note, lasts=True))
            return
        claim.since = max(claim.since, since or claim.since)
        note = "Runs now. Which step runs is not known." if self._last > claim.start else "Runs now."
        self._unknown(Kind.WORK, claim, until, note)

    # --- bars of work ---

    def _steps(self, kind: Kind, claim: _Claim, event: Event) -> bool:
        """Draw the reported spans of steps. Return False if there are none, or if their times cannot be true."""
        reported = [tuple(span) for span in event.data.get("steps") or ()]
        window = fitted([(start, end) for _, start, end in reported], claim.at, event.at)
        if not reported or window is None:
            return False
        spans, note = window
        failed = _number(event.data.get("failedStepIndex"))
        for (index, start, end), (began, ended) in zip(reported, spans, strict=True):
            if self._is_new(event, index, start, end):
                own_kind = Kind.WORK if kind is Kind.FAILED and index != failed else kind
                self._bar(index, _reported(event, Bar(own_kind, began, ended, index, claim.attempt, note=note)))
        if kind is Kind.FAILED and failed not in {index for index, *_ in reported}:
            note = "Failed before it was called." if failed is not None else "Failed outside of a step."
            place = claim.start if failed is None else failed
            self._bar(place, _reported(event, Bar(Kind.FAILED, event.at, event.at, place, claim.attempt, note=note)))
        return True

    def _together(self, kind: Kind, claim: _Claim, event: Event, last: int) -> None:
        """Draw one bar for all steps of a part whose steps have no known times."""
        last = max(last, claim.start)
        placed = fitted([event.data["span"]], claim.at, event.at) if event.data.get("span") else None
        start, end = placed[0][0] if placed else (claim.since, event.at)
        note = "Only the start and the end of the transition are known." if last > claim.start else ""
        self._bar(claim.start, _reported(event, Bar(kind, start, end, last, claim.attempt, note=note)))

    def _unknown(self, kind: Kind, claim: _Claim, until: datetime, note: str, event: Event | None = None) -> None:
        """Draw one bar for all steps that a claim may have run. It lasts unless an event has ended it."""
        bar = Bar(kind, claim.since, max(until, claim.since), self._last, claim.attempt, note=note, lasts=event is None)
        self._bar(claim.start, bar if event is None else _reported(event, bar))

    def _last_of(self, event: Event, claim: _Claim) -> int:
        """Return the last step that a reported part may have run."""
        if event.kind == "AWAITING":
            steps = [waiting.step_index for waiting in self._awaits if waiting.opened_at == event.at]
            return steps[0] if steps else claim.start
        failed = _number(event.data.get("failedStepIndex"))
        return self._last if failed is None else failed

    @property
    def _last(self) -> int:
        return max(len(self._rows) - 1, self._step, 0)

    def _is_new(self, event: Event, index: int, start: int, end: int) -> bool:
        key = (str(event.data.get("worker")), index, start, end)
        new = key not in self._listed
        self._listed.add(key)
        return new

    # --- waits ---

    def _note_wait(self, event: Event) -> None:
        if event.kind == "AWAIT_COMPLETED":
            self._step = (_number(event.data.get("stepIndex")) or 0) + 1
        if event.status in _WAITS:
            if self._wait is None:
                needs_place = "concurrencyKey" in event.data
                kind, why = (Kind.START, _NEEDS_PLACE) if needs_place else (_WAITS[event.status], "")
                self._wait = (kind, event.at, _WHY.get(event.kind, why))
                if "notBefore" in event.data:
                    self._not_before = datetime.fromisoformat(event.data["notBefore"])
        else:
            self._end_wait(event.at)

    def _end_wait(self, at: datetime, *, lasts: bool = False) -> None:
        if self._wait is None:
            return
        kind, since, note = self._wait
        self._wait = None
        place = min(self._step, self._last)
        not_before, self._not_before = self._not_before, None
        if not_before is not None and not_before > since:
            until, is_early = min(not_before, at), not_before >= at
            self._bar(place, Bar(Kind.START, since, until, place, note=_HAS_TIME, lasts=lasts and is_early))
            if is_early:
                return
            since = until
        self._bar(place, Bar(kind, since, at, place, note=note, lasts=lasts))

    def _pause(self, pause: Pause, until: datetime) -> None:
        """Draw a pause in the row of the step at which the execution stood when it began."""
        begins = self._stood[0][0] if self._stood else until
        start, end = max(pause.started_at, begins), min(pause.ended_at or until, until)
        if start > end:
            return
        stood = [step for at, step in self._stood if at <= start]
        place = min(stood[-1] if stood else 0, self._last)
        note = f"{pause.target} was paused by {pause.actor}."
        lasts = pause.ended_at is None and self._ended_at is None
        self._bar(place, Bar(Kind.PAUSED, start, end, place, note=note, lasts=lasts))

    # --- rows ---

    def _note_failure(self, event: Event) -> None:
        if event.status in (State.FAILED, State.DLQ):
            named = (_number(event.data.get(name)) for name in ("failedStepIndex", "stepIndex"))
            self._failed = next((index for index in named if index is not None), self._step)
        elif event.status not in TERMINAL:
            self._failed = None

    def _bar(self, index: int, bar: Bar) -> None:
        """Add a bar to the row of a step. Steps that are none of the contract's get no row."""
        if not self._named:
            self._rows.extend(Row(Step(new, "")) for new in range(len(self._rows), bar.last + 1))
        if 0 <= index < len(self._rows):
            self._rows[index].bars.append(bar)

    def _progress(self, index: int) -> Progress:
        if self._status == State.SUCCEEDED:
            return Progress.INHERITED if index < self._first else Progress.DONE
        if index == self._failed:
            return Progress.FAILED
        if index < self._first:
            return Progress.INHERITED
        if index < self._step:
            return Progress.DONE
        return Progress.NOW if index == self._step and self._status not in TERMINAL else Progress.OPEN


_FAILURES: Final = frozenset({State.FAILED, State.DLQ, State.WAIT_RETRY})
_WAITS: Final[Mapping[str, Kind]] = {State.QUEUED.value: Kind.QUEUED, State.WAIT_RETRY.value: Kind.RETRY}
_HAS_TIME: Final = "Its submission names the time."
_NEEDS_PLACE: Final = "The limits of its concurrency key decide when it may start. Then it needs a worker."
_WHY: Final = {
    "LEASE_EXPIRED": "The lease was lost.",
    "REDRIVEN": "Re-driven.",
    "AWAIT_COMPLETED": "Answered.",
    "DISPATCH_FAILED": "Could not be sent to a worker.",
}
_LOST: Final = {
    "LEASE_EXPIRED": "The lease was lost. Which steps ran is not known.",
    "LEASES_LOST": "The lease was lost too often. Which steps ran is not known.",
    "LEASE_RESTORED": "The outcome of an earlier run arrived. Which steps ran is not known.",
    "CANCELLED": "It was running when it was cancelled.",
    "RELEASE_REVOKED": "It was running when its release was revoked.",
    "DISPATCH_FAILED": "It could not be sent to a worker.",
}


def _reported(event: Event, bar: Bar) -> Bar:
    """Return a bar that this event has ended, with the worker that it names."""
    return replace(bar, worker=str(event.data.get("worker") or ""), sequence=event.sequence)


def _await_bar(waiting: Await, until: datetime) -> Bar:
    answered = f"{waiting.answered} of {waiting.expected} answered"
    note = f"{answered} by {', '.join(waiting.actors)}." if waiting.actors else f"{answered}."
    end = waiting.closed_at or until
    return Bar(
        Kind.AWAIT,
        waiting.opened_at,
        max(end, waiting.opened_at),
        waiting.step_index,
        note=note,
        lasts=not waiting.closed_at,
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
