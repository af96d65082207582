"""Checks the histories of executions. Pure, so that it can be tested with falsified histories."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from executions.models.states import TERMINAL, State, legal
from tests.parts.recovery.history import History

# Events that do not change the state. A checkpoint that a newer one replaces before it is sent leaves no event.
NOTES = frozenset({"OUTCOME_DROPPED", "CHECKPOINT"})
# These events, and moves without an outcome or a response, may occur any number of times.
CHANCE = frozenset({"CLAIMED", "LEASE_EXPIRED", "DISPATCH_FAILED"}) | NOTES


@dataclass(frozen=True, slots=True)
class Promise:
    """The response to an accepted submission, and the expected end of its execution.

    `path` lists the kinds of its events except those in `CHANCE`. `answer` is the client's response to the first
    interaction. `error` is the expected error code, or None if any is accepted.
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


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one step, as recorded by the step. `version` is the version of the code."""

    execution_id: str
    step: str
    version: str
    attempt: int


def contradictions(history: History) -> Iterator[str]:
    """Yield the contradictions within the rows of an ended execution, and its illegal moves."""
    if [event.sequence for event in history.events] != list(range(1, len(history.events) + 1)):
        yield f"its events are numbered {[event.sequence for event in history.events]}"
    if history.event_count != len(history.events):
        yield f"its event count is {history.event_count}, but it has {len(history.events)} events"
    moves = [event for event in history.events if event.kind not in NOTES]
    if history.version != len(moves) - 1:
        yield f"it is at version {history.version} after {len(moves) - 1} moves"
    if not moves or (moves[0].kind, moves[0].status) != ("SUBMITTED", State.QUEUED):
        yield f"it begins with {moves[:1]}"
    states = [State(event.status) for event in moves]
    for source, target in pairwise(states):
        if not legal(source, target):
            yield f"it moved from {source} to {target}"
    if states and states[-1] != history.status:
        yield f"it is {history.status}, but its last move led to {states[-1]}"
    if history.status not in TERMINAL:
        yield f"it never ended: {history.status}"
    ends = sum(state in TERMINAL for state in states)
    if ends != 1:
        yield f"it ended {ends} times"
    if history.leased:
        yield "it ended with a lease"
    if (history.finished_at is None) != (history.status not in TERMINAL):
        yield f"it is {history.status} and finished at {history.finished_at}"
    recorded = [event.data["transitionKey"] for event in moves if "transitionKey" in event.data]
    for key, count in Counter(recorded).items():
        if count > 1:
            yield f"the outcome of {key} was recorded {count} times"
    if "WAITING_EXTERNAL" in history.units:
        yield "an await unit is still open"
    open_interactions = [
        status for status in history.interactions if status in {"WAITING", "DISPATCHING", "DISPATCHED"}
    ]
    if open_interactions:
        yield f"{len(open_interactions)} interactions are still open"
    if history.dead_letters != (history.status in {State.FAILED, State.DLQ}):
        yield f"it is {history.status} with {history.dead_letters} dead letters"


def broken_promises(promise: Promise, history: History) -> Iterator[str]:
    """Yield the differences between an execution and its promise."""
    if history.pin != promise.pin:
        yield f"its pin was {promise.pin} and is {history.pin}"
    if history.key != promise.key:
        yield f"its key was {promise.key} and is {history.key}"
    if history.status != promise.status:
        yield f"it should be {promise.status} and is {history.status}"
    if history.attempt != promise.attempt:
        yield f"it should have failed {promise.attempt} times and failed {history.attempt} times"
    path = tuple(kind for kind in history.kinds if kind not in CHANCE)
    if path != promise.path:
        yield f"its path should be {promise.path} and was {path}"
    if history.result != promise.result:
        yield f"its result should be {promise.result} and is {history.result}"
    if promise.error is not None and history.error_code != promise.error:
        yield f"it should have failed with {promise.error} and failed with {history.error_code}"
    if promise.answer is not None and history.answers[:1] != [promise.answer]:
        yield f"the answer was {promise.answer} and the stored one is {history.answers[:1]}"


def wrong_runs(history: History, runs: Collection[Run], needed: Collection[tuple[str, int]]) -> Iterator[str]:
    """Yield runs of wrong code, missing runs and unneeded runs. `needed` lists the steps with their attempts."""
    for version in {run.version for run in runs} - {history.pin[2]}:
        yield f"it is pinned to {history.pin[2]}, but code of {version} ran for it"
    for step, attempt in set(needed) - {(run.step, run.attempt) for run in runs}:
        yield f"attempt {attempt} of {step} was recorded but never ran"
    for step, attempt in {(run.step, run.attempt) for run in runs} - set(needed):
        yield f"attempt {attempt} of {step} ran but was not needed"


def faults(
    promises: Collection[Promise],
    found: Collection[History],
    runs: Mapping[str, Collection[Run]],
    needed: Mapping[str, Collection[tuple[str, int]]],
) -> list[str]:
    """Return one line for each fault. Empty if no execution was lost and nothing happened twice."""
    by_id = {each.execution_id: each for each in found}
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
    lines += [f"{each.execution_id} ({each.key}): no client submitted it" for each in by_id.values()]
    for key, count in Counter(promise.key for promise in promises).items():
        if count > 1:
            lines.append(f"the key {key} has {count} executions")
    return lines
