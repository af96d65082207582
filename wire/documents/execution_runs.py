"""Derives which code ran each part of an execution from the execution's events. Pure.

A part is a transition, or what lies between two checkpoints of one. Workers report the code, so every entry is compared
with the pinned release. What does not fit is kept and gets a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

TOLERANCE: Final = timedelta(minutes=2)
"""How far a worker's clock may differ from the coordinator's."""
MOST_RUNS: Final = 5_000
"""How many parts a document lists."""
MOST_STEPS: Final = 20_000
"""How many spans of steps a document lists."""
REPORTS: Final = frozenset(
    {"SUCCEEDED", "FAILED", "RETRY_SCHEDULED", "RETRIES_EXHAUSTED", "AWAITING", "CHECKPOINT", "OUTCOME_DROPPED"}
)
"""The events with which a worker reports a part."""
LOST: Final = frozenset({"LEASE_EXPIRED", "LEASES_LOST", "LEASE_RESTORED", "CANCELLED", "RELEASE_REVOKED"})
"""The events that end a part without a report."""


class RunFinding(StrEnum):
    """Why an entry does not prove which code ran."""

    NOT_REPORTED = "NOT_REPORTED"
    """The part ended without a report. The artifact is the one that the worker had registered, if any."""
    ARTIFACT_NOT_REPORTED = "ARTIFACT_NOT_REPORTED"
    ARTIFACT_NOT_PINNED = "ARTIFACT_NOT_PINNED"
    """The release does not pin the artifact that the worker reported."""
    CODE_NOT_VERIFIED = "CODE_NOT_VERIFIED"
    """The worker did not load its code from the artifact: it ran a folder that builds to the artifact."""
    ARTIFACT_AS_REGISTERED = "ARTIFACT_AS_REGISTERED"
    """The worker reported no artifact with the part. The artifact is the one that it was registered with."""
    ENVIRONMENT_NOT_REPORTED = "ENVIRONMENT_NOT_REPORTED"
    STEP_UNKNOWN = "STEP_UNKNOWN"
    """A reported step is none of the contract's."""
    TIMES_IMPLAUSIBLE = "TIMES_IMPLAUSIBLE"
    """A reported span ends before it starts, or lies outside of the time between claim and report."""
    STEPS_OMITTED = "STEPS_OMITTED"
    """The document has too many spans already."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of an execution, as the coordinator recorded it."""

    sequence: int
    kind: str
    status: str
    at: datetime
    data: Mapping[str, Any]


@dataclass(slots=True)
class Runs:
    """The entries of a document. `omitted` counts those above MOST_RUNS."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    omitted: int = 0


def runs_of(events: Iterable[Event], pinned: frozenset[str], steps: Sequence[str] | None) -> Runs:
    """Return an entry for each part, in the order of the events.

    `events` are all events of the execution in their order, `pinned` the digests of the release's artifacts, `steps`
    the names of the contract's steps; None if the release has no contract.
    """
    derivation = _Derivation(pinned, steps)
    for event in events:
        derivation.add(event)
    return derivation.runs


def instant(at: datetime) -> str:
    """Return a time of the coordinator as RFC 3339 in UTC, with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def reported_time(milliseconds: int) -> datetime | None:
    """Return a time that a worker reported; None after the year 9999."""
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


class _Derivation:
    def __init__(self, pinned: frozenset[str], steps: Sequence[str] | None) -> None:
        self.runs = Runs()
        self._pinned = pinned
        self._steps = steps
        self._listed: set[tuple[str, int, int, int]] = set()
        self._claim: Event | None = None
        self._start = 0
        self._lost_claim: tuple[Event | None, int] = None, 0

    def add(self, event: Event) -> None:
        if event.kind == "CLAIMED":
            self._claim, self._start = event, _number(event.data.get("stepIndex")) or 0
        elif event.kind in REPORTS and "worker" in event.data:
            self._append(event, self._reported(event))
        elif event.kind in LOST and self._claim is not None:
            self._append(event, self._lost(event))
        if event.kind == "CHECKPOINT":
            self._start = _number(event.data.get("nextStepIndex")) or self._start
        if event.kind == "LEASE_EXPIRED":
            self._lost_claim = self._claim, self._start
        elif event.kind == "LEASE_RESTORED":
            self._claim, self._start = self._lost_claim
        if event.status != "RUNNING":
            self._claim = None

    def _append(self, event: Event, entry: dict[str, Any]) -> None:
        if len(self.runs.entries) < MOST_RUNS:
            self.runs.entries.append(entry)
        else:
            self.runs.omitted += 1

    def _reported(self, event: Event) -> dict[str, Any]:
        digest = str(event.data.get("artifactDigest") or "")
        environment = str(event.data.get("environment") or "")
        findings: dict[RunFinding, None] = {}  # in this order, each once
        if not digest:
            findings[RunFinding.ARTIFACT_NOT_REPORTED] = None
        elif digest not in self._pinned:
            findings[RunFinding.ARTIFACT_NOT_PINNED] = None
        if event.data.get("code") == "source":
            findings[RunFinding.CODE_NOT_VERIFIED] = None
        if digest and event.data.get("code") == "registered":
            findings[RunFinding.ARTIFACT_AS_REGISTERED] = None
        if not environment:
            findings[RunFinding.ENVIRONMENT_NOT_REPORTED] = None
        steps = self._spans(event, findings)
        span = event.data.get("span") or _hull(event.data.get("steps"))
        started, ended = self._span(event, span, findings) if span else (None, None)
        return self._entry(event, digest, environment) | {
            "startedAt": started,
            "endedAt": ended,
            "steps": steps,
            "findings": [finding.value for finding in findings],
        }

    def _lost(self, event: Event) -> dict[str, Any]:
        digest = str(event.data.get("registeredArtifactDigest") or "")
        findings = [RunFinding.NOT_REPORTED]
        if digest and digest not in self._pinned:
            findings.append(RunFinding.ARTIFACT_NOT_PINNED)
        return self._entry(event, digest, "") | {
            "startedAt": None,
            "endedAt": None,
            "steps": [],
            "findings": [finding.value for finding in findings],
        }

    def _entry(self, event: Event, digest: str, environment: str) -> dict[str, Any]:
        claim = None if event.kind == "OUTCOME_DROPPED" else self._claim
        attempt = event.data.get("attempt", claim.data.get("attempt") if claim is not None else None)
        return {
            "sequence": event.sequence,
            "outcome": event.kind,
            "attempt": _number(attempt),
            "worker": str(event.data.get("worker") or "") or None,
            "artifactDigest": digest or None,
            "pinned": digest in self._pinned,
            "code": str(event.data.get("code") or "") or None,
            "environment": environment or None,
            "durablePipelines": str(event.data.get("durablePipelines") or "") or None,
            "firstStepIndex": None if claim is None else self._start,
            "claimedAt": None if claim is None else instant(claim.at),
            "recordedAt": instant(event.at),
        }

    def _spans(self, event: Event, findings: dict[RunFinding, None]) -> list[dict[str, Any]]:
        """Return the steps that the event reports, each with its name. A span that is listed already is left out.

        An outcome that is dropped repeats the spans that the checkpoints of its transition have recorded.
        """
        listed = []
        for index, started, ended in event.data.get("steps") or ():
            key = (str(event.data.get("worker")), index, started, ended)
            if key in self._listed:
                continue
            if len(self._listed) >= MOST_STEPS:
                findings[RunFinding.STEPS_OMITTED] = None
                break
            self._listed.add(key)
            begin, end = self._span(event, (started, ended), findings)
            name = self._steps[index] if self._steps is not None and index < len(self._steps) else None
            if self._steps is not None and name is None:
                findings[RunFinding.STEP_UNKNOWN] = None
            listed.append({"index": index, "name": name, "startedAt": begin, "endedAt": end})
        return listed

    def _span(
        self, event: Event, span: Sequence[int], findings: dict[RunFinding, None]
    ) -> tuple[str | None, str | None]:
        started, ended = reported_time(span[0]), reported_time(span[1])
        claimed = None if self._claim is None or event.kind == "OUTCOME_DROPPED" else self._claim.at
        if not _is_plausible(started, ended, claimed, event.at):
            findings[RunFinding.TIMES_IMPLAUSIBLE] = None
        return _text(started), _text(ended)


def _is_plausible(
    started: datetime | None, ended: datetime | None, claimed: datetime | None, recorded: datetime
) -> bool:
    if started is None or ended is None or ended < started or ended > recorded + TOLERANCE:
        return False
    return claimed is None or started >= claimed - TOLERANCE


def _hull(steps: Any) -> tuple[int, int] | None:
    """Return the span from the first start to the last end of steps; None if there are none."""
    if not steps:
        return None
    return min(started for _, started, _ in steps), max(ended for _, _, ended in steps)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


_PRECISION: Final = timedelta(milliseconds=2)
_NOTED: Final = timedelta(milliseconds=100)
"""A smaller difference of the clocks is not mentioned."""


def fitted(
    spans: Sequence[Sequence[int]], claimed: datetime, recorded: datetime
) -> tuple[list[tuple[datetime, datetime]], str] | None:
    """Return spans that a worker reported as times between claim and report. None if that is impossible.

    The clocks of workers differ from the coordinator's. If the spans lie outside, all are moved by the same time.
    """
    moments = [(reported_time(start), reported_time(end)) for start, end in spans]
    known = [(start, end) for start, end in moments if start is not None and end is not None and start <= end]
    if not known or len(known) < len(moments):
        return None
    first, last = min(start for start, _ in known), max(end for _, end in known)
    shift = max(claimed - first, timedelta()) or min(recorded - last, timedelta())
    if abs(shift) > TOLERANCE or last + shift > recorded + _PRECISION or first + shift < claimed - _PRECISION:
        return None
    note = f"The worker's clock differs by {abs(shift).total_seconds():.1f} s." if abs(shift) > _NOTED else ""
    return [
        (_within(start + shift, claimed, recorded), _within(end + shift, claimed, recorded)) for start, end in known
    ], note


def _within(at: datetime, first: datetime, last: datetime) -> datetime:
    return max(first, min(at, last))
