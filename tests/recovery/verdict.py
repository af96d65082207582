"""The verdict on what became of executions: pure, so that falsified histories can put it to the test itself."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from executions.models.states import TERMINAL, State, legal
from tests.recovery.history import History

# Events that move nothing, and moves that no outcome and no answer made: how often they occur is chance. Nor is a
# checkpoint told that was overtaken before it was sent.
NOTES = frozenset({"OUTCOME_DROPPED", "CHECKPOINT"})
CHANCE = frozenset({"CLAIMED", "LEASE_EXPIRED", "DISPATCH_FAILED"}) | NOTES


@dataclass(frozen=True, slots=True)
class Promise:
    """What a client was told when its submission was accepted, and what its execution must come to.

    `path` are the kinds of events but for those of `CHANCE`, `answer` what the client answered, `error` the code of the
    failure where it matters.
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
    """One run of one step, as the step itself noted it; `version` is that of the code."""

    execution_id: str
    step: str
    version: str
    attempt: int


def unlawful(of: History) -> Iterator[str]:
    """What in one finished execution's record contradicts itself or the automaton."""
    if [event.sequence for event in of.events] != list(range(1, len(of.events) + 1)):
        yield f"its events are numbered {[event.sequence for event in of.events]}"
    if of.event_count != len(of.events):
        yield f"it counts {of.event_count} events, but there are {len(of.events)}"
    moves = [event for event in of.events if event.kind not in NOTES]
    if of.version != len(moves) - 1:
        yield f"it is at version {of.version} after {len(moves) - 1} moves"
    if not moves or (moves[0].kind, moves[0].status) != ("SUBMITTED", State.QUEUED):
        yield f"it begins with {moves[:1]}"
    states = [State(event.status) for event in moves]
    for source, target in pairwise(states):
        if not legal(source, target):
            yield f"it moved from {source} to {target}"
    if states and states[-1] != of.status:
        yield f"it is {of.status}, but its last move led to {states[-1]}"
    if of.status not in TERMINAL:
        yield f"it never ended: {of.status}"
    ends = sum(state in TERMINAL for state in states)
    if ends != 1:
        yield f"it ended {ends} times"
    if of.leased:
        yield "it ended with a lease"
    if (of.finished_at is None) != (of.status not in TERMINAL):
        yield f"it is {of.status} and finished at {of.finished_at}"
    recorded = [event.data["transitionKey"] for event in moves if "transitionKey" in event.data]
    for key, count in Counter(recorded).items():
        if count > 1:
            yield f"the outcome of {key} was recorded {count} times"
    if "WAITING_EXTERNAL" in of.units:
        yield "an await unit is still open"
    still_asked = [status for status in of.interactions if status in {"WAITING", "DISPATCHING", "DISPATCHED"}]
    if still_asked:
        yield f"{len(still_asked)} interactions are still open"
    if of.dead_letters != (of.status in {State.FAILED, State.DLQ}):
        yield f"it is {of.status} with {of.dead_letters} dead letters"


def broken(promise: Promise, of: History) -> Iterator[str]:
    """Where an execution is not what its client was promised."""
    if of.pin != promise.pin:
        yield f"its pin was {promise.pin} and is {of.pin}"
    if of.key != promise.key:
        yield f"its key was {promise.key} and is {of.key}"
    if of.status != promise.status:
        yield f"it should be {promise.status} and is {of.status}"
    if of.attempt != promise.attempt:
        yield f"it should have failed {promise.attempt} times and did {of.attempt} times"
    path = tuple(kind for kind in of.kinds if kind not in CHANCE)
    if path != promise.path:
        yield f"its way should be {promise.path} and was {path}"
    if of.result != promise.result:
        yield f"its result should be {promise.result} and is {of.result}"
    if promise.error is not None and of.error_code != promise.error:
        yield f"it should have failed with {promise.error} and did with {of.error_code}"
    if promise.answer is not None and of.answers[:1] != [promise.answer]:
        yield f"it was answered {promise.answer} and keeps {of.answers[:1]}"


def misrun(of: History, runs: Collection[Run], needed: Collection[tuple[str, int]]) -> Iterator[str]:
    """Runs of the wrong code, and outcomes that no run stands behind; `needed` are steps with their attempts."""
    for version in {run.version for run in runs} - {of.pin[2]}:
        yield f"it is pinned to {of.pin[2]}, and code of {version} ran for it"
    for step, attempt in set(needed) - {(run.step, run.attempt) for run in runs}:
        yield f"attempt {attempt} of {step} was recorded and never ran"
    for step, attempt in {(run.step, run.attempt) for run in runs} - set(needed):
        yield f"attempt {attempt} of {step} ran and had no business to"


def faults(
    promises: Collection[Promise],
    found: Collection[History],
    runs: Mapping[str, Collection[Run]],
    needed: Mapping[str, Collection[tuple[str, int]]],
) -> list[str]:
    """Everything that is wrong, one line each; empty where nothing was lost and nothing happened twice."""
    by_id = {one.execution_id: one for one in found}
    told = []
    for promise in promises:
        of = by_id.pop(promise.execution_id, None)
        if of is None:
            told.append(f"{promise.execution_id} ({promise.key}): it was accepted and is gone")
            continue
        wrong = [*unlawful(of), *broken(promise, of), *misrun(of, runs.get(of.execution_id, ()), needed[promise.key])]
        told += [f"{of.execution_id} ({of.key}): {what}" for what in wrong]
    told += [f"{one.execution_id} ({one.key}): nobody was told of it" for one in by_id.values()]
    for key, count in Counter(promise.key for promise in promises).items():
        if count > 1:
            told.append(f"the key {key} made {count} executions")
    return told
