"""Checks the histories of executions. Pure, so that it can be tested with falsified histories."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from executions.models.states import MOVES, TERMINAL, State
from tests.parts.recovery.history import History

# Events that do not change the state. A checkpoint that a newer one replaces before it is sent leaves no event.
NOTES = frozenset({"OUTCOME_DROPPED", "CHECKPOINT"})
# These events, and moves without an outcome or a response, may occur any number of times.
CHANCE = frozenset({"CLAIMED", "LEASE_EXPIRED", "LEASE_RESTORED", "DISPATCH_FAILED"}) | NOTES
OPEN = frozenset({"WAITING_EXTERNAL", "WAITING", "DISPATCHING", "DISPATCHED"})


@dataclass(frozen=True, slots=True)
class Promise:
    """The response to an accepted submission, and the expected end of its execution.

    `path` lists the kinds of its events except those in `CHANCE`. `answer` is the client's response to the first
    interaction. `error` is the expected error code, or None if any is accepted. With `may_be_cancelled`, the execution
    may also be cancelled at any point of its path.
    """

    key: str
    execution_id: str
    pin: tuple[str, str, str]
    status: str
    attempt: int
    path: tuple[str, ...]
    result: list[Any] | None
    answer: Any = None
    error: str | None = None
    may_be_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one step, as recorded by the step. `version` is the version of the code."""

    execution_id: str
    step: str
    version: str
    attempt: int


def contradictions(history: History) -> list[str]:
    """Return the contradictions within the rows of an ended execution, and its illegal moves."""
    moves = [
        event
        for before, event in zip(["", *(event.status for event in history.events)], history.events, strict=False)
        # A lease that is taken from another worker changes no state.
        if event.kind not in NOTES and (event.kind, before) != ("LEASE_RESTORED", "RUNNING")
    ]
    states = [State(event.status) for event in moves]
    numbers = [event.sequence for event in history.events]
    illegal = [f"{source} to {target}" for source, target in pairwise(states) if target not in MOVES[source]]
    outcomes = Counter(event.data["transitionKey"] for event in moves if "transitionKey" in event.data)
    twice = {key: count for key, count in outcomes.items() if count > 1}
    left_open = OPEN & {*history.units, *history.interactions}
    ends = sum(state in TERMINAL for state in states)
    failures = sum(state in {State.FAILED, State.DLQ} for state in states)
    redrives = sum(event.kind == "REDRIVEN" for event in moves)
    consistent = {
        f"its events are numbered {numbers}": numbers == list(range(1, len(numbers) + 1)),
        f"its event count is {history.event_count} of {len(numbers)}": history.event_count == len(numbers),
        f"it is at version {history.version} after {len(moves) - 1} moves": history.version == len(moves) - 1,
        f"it begins with {history.kinds[:1]}": [(move.kind, move.status) for move in moves[:1]]
        == [("SUBMITTED", State.QUEUED)],
        f"it moved from {illegal}": not illegal,
        f"it is {history.status}, but its last move led to {states[-1:]}": states[-1:] == [history.status],
        f"it never ended: {history.status}": history.status in TERMINAL,
        f"it ended {ends} times, and was re-driven {redrives} times": ends == 1 + redrives,
        "it ended with a lease": not history.leased,
        f"it finished at {history.finished_at}": (history.finished_at is not None) == (history.status in TERMINAL),
        f"outcomes were recorded twice: {twice}": not twice,
        f"it ended while something was {set(left_open)}": not left_open,
        f"it failed {failures} times, with {history.dead_letters} dead letters": history.dead_letters == failures,
    }
    return [what for what, holds in consistent.items() if not holds]


def broken_promises(promise: Promise, history: History) -> Iterator[str]:
    """Yield the differences between an execution and its promise."""
    path = tuple(kind for kind in history.kinds if kind not in CHANCE)
    if promise.may_be_cancelled and history.status == State.CANCELLED:
        promised = (*promise.path[: len(path) - 1], "CANCELLED")
        promise = replace(
            promise, status=State.CANCELLED, path=promised, attempt=history.attempt, result=None, answer=None
        )
    compared = {
        "pin": (promise.pin, history.pin),
        "key": (promise.key, history.key),
        "status": (promise.status, history.status),
        "attempt": (promise.attempt, history.attempt),
        "path": (promise.path, path),
        "result": (promise.result, history.result),
        "error": (promise.error, promise.error and history.error_code),
        "answer": (promise.answer, promise.answer and next(iter(history.answers), None)),
    }
    for name, (promised, recorded) in compared.items():
        if promised != recorded:
            yield f"its {name} should be {promised} and is {recorded}"


def wrong_runs(history: History, runs: Collection[Run], needed: Collection[tuple[str, int]]) -> Iterator[str]:
    """Yield runs of wrong code, missing runs and unneeded runs. `needed` lists the steps with their attempts."""
    ran = {(run.step, run.attempt) for run in runs}
    for version in {run.version for run in runs} - {history.pin[2]}:
        yield f"it is pinned to {history.pin[2]}, but code of {version} ran for it"
    recorded = () if history.status == State.CANCELLED else {*needed} - ran
    for step, attempt in recorded:
        yield f"attempt {attempt} of {step} was recorded but never ran"
    for step, attempt in ran - {*needed}:
        yield f"attempt {attempt} of {step} ran but was not needed"


def faults(
    promises: Collection[Promise],
    histories: Collection[History],
    runs: Mapping[str, Collection[Run]],
    needed: Mapping[str, Collection[tuple[str, int]]],
) -> list[str]:
    """Return one line for each fault. Empty if no execution was lost and nothing happened twice."""
    by_id = {history.execution_id: history for history in histories}
    lines = []
    for promise in promises:
        history = by_id.pop(promise.execution_id, None)
        if history is None:
            lines.append(f"{promise.execution_id} ({promise.key}): it was accepted but does not exist")
            continue
        wrong = [
            *contradictions(history),
            *broken_promises(promise, history),
            *wrong_runs(history, runs.get(history.execution_id, ()), needed[promise.key]),
        ]
        lines += [f"{history.execution_id} ({history.key}): {what}" for what in wrong]
    lines += [f"{history.execution_id} ({history.key}): no client submitted it" for history in by_id.values()]
    keys = Counter(promise.key for promise in promises)
    return lines + [f"the key {key} has {count} executions" for key, count in keys.items() if count > 1]


@dataclass(frozen=True, slots=True)
class Pinned:
    """When a submission was first requested and when it was answered, and the release that it was pinned to."""

    requested_at: float
    answered_at: float
    version: str


def misplaced(pins: Mapping[str, Pinned], before: str, after: str, began_at: float, ended_at: float) -> list[str]:
    """Return a line for each pin that contradicts the activation of `after` in place of `before`.

    The first request for it was sent at `began_at`, and it was answered for the last share at `ended_at`.
    """
    early = {key for key, pin in pins.items() if pin.answered_at < began_at and pin.version != before}
    late = {key for key, pin in pins.items() if pin.requested_at > ended_at and pin.version != after}
    return [f"{key}: pinned to {pins[key].version}, against the order of activations" for key in sorted(early | late)]
