"""The moves of executions between states: each is a guarded UPDATE with its event in the same statement.

All functions take groups. If an execution is not among those returned, its guard failed: another process moved it
first.
"""

import json
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from django.db import connection, transaction
from psycopg.types.json import Jsonb
from pydantic_core import to_json

from executions.models import Execution
from executions.models.states import MOVES, TERMINAL, State
from executions.state_machine import endings, statements
from foundation import wakeup
from foundation.database import prepared
from foundation.plurals import counted
from wire.documents.contract import ResultShape
from wire.messages.celery_messages import Shape

NOTIFY_TASK: Final = "alerts.notify"
"""Sends the messages about executions that have ended: `alerts.deliveries`."""
FAMILY_TASK: Final = "executions.hand_over_ends"
"""Tells parents of the ends of their children, and cancels the children of cancelled ones: `executions.children`."""
GRANT_TASK: Final = "executions.grant_places"
"""Starts executions that waited for those of the same concurrency key: `executions.submission.places`."""


_HAVE_FAILED: Final = (State.FAILED, State.DLQ)


@cache
def owner() -> str:
    """Return the name under which this process acts and holds leases."""
    return f"coordinator@{socket.gethostname()}"


class Move(NamedTuple):
    """A move of one execution from `source` to `target`, with its event of `kind`.

    The guard is `source`, and those of `version`, `lease_token` and `await_unit` that are not None. The row is due
    after `delay`. If `progress_shape` is set, the next transition starts from `progress`. The error, the result and the
    await unit are overwritten; of the other columns, those that are None keep their value.

    `replaced_by` is part of the guard of a re-drive: the execution that carries on the work, or None. A group that has
    re-drives has nothing else.
    """

    execution_id: uuid.UUID
    target: State
    kind: str
    actor: str
    data: dict[str, Any]
    source: State = State.RUNNING
    version: int | None = None
    lease_token: uuid.UUID | None = None
    await_unit: uuid.UUID | None = None
    step_index: int | None = None
    attempt: int | None = None
    budget_start: int | None = None
    transition_key: str | None = None
    delay: timedelta = timedelta()
    progress: Any = None
    progress_shape: Shape | None = None
    new_await_unit: uuid.UUID | None = None
    result: list[Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    replaced_by: uuid.UUID | None = None

    @classmethod
    def of(
        cls,
        execution: Execution,
        target: State,
        kind: str,
        actor: str,
        reason: str,
        data: Mapping[str, Any],
        **columns: Any,
    ) -> Self:
        """Return a move of `execution` as it was read. Its event has `reason`, state, error and `data`."""
        error = {"errorCode": execution.error_code, "errorMessage": execution.error_message}
        event = {"reason": reason, "previousStatus": execution.status, **error, **data}
        source = State(execution.status)
        return cls(execution.pk, target, kind, actor, event, source=source, version=execution.version, **columns)


def apply(moves: Sequence[Move], shared: Mapping[str, str] = MappingProxyType({})) -> list[Move]:
    """Apply `moves` and return those that took place, in their order. Of several for one execution, at most one does.

    The event of each move has the members `shared` in addition to the move's own data.
    Raises ValueError for a move that is not in `MOVES`, which is a programming error.
    """
    if not moves:
        return []
    runs_again = False
    for move in moves:
        if move.target not in MOVES[move.source]:
            raise ValueError(f"There is no move from {move.source} to {move.target}.")
        runs_again = runs_again or move.source in _HAVE_FAILED
    requested = to_json([_as_row(move) for move in moves]).decode()
    with prepared.cursor() as cursor:
        cursor.execute(
            statements.APPLY_AGAIN if runs_again else statements.APPLY,
            {"moves": requested, "shared": json.dumps(dict(shared)), "terminal": [state.value for state in TERMINAL]},
        )
        places = sorted(cursor.fetchall())
    if places and places[0][0] < 0:
        ended = [-place % statements.FAMILY for (place,) in places if place < 0]
        wakeup.send(NOTIFY_TASK)
        wakeup.send(GRANT_TASK, [str(moves[place - 1].execution_id) for place in ended])
        if places[0][0] < -statements.FAMILY:
            wakeup.send(FAMILY_TASK)
        places = sorted((abs(place) % statements.FAMILY,) for (place,) in places)
    moved = [moves[place - 1] for (place,) in places]
    if endings.demand.exists:
        endings.announce([move.execution_id for move in moved if move.target in TERMINAL])
    return moved


def _as_row(move: Move) -> dict[str, Any]:
    """Return the columns of a move that are not NULL."""
    columns = {
        "id": move.execution_id,
        "source": move.source,
        "version": move.version,
        "token": move.lease_token,
        "unit": move.await_unit,
        "target": move.target,
        "kind": move.kind,
        "actor": move.actor,
        "data": move.data,
        "step": move.step_index,
        "attempt": move.attempt,
        "budget": move.budget_start,
        "key": move.transition_key,
        "delay": move.delay.total_seconds(),
        "progress": None if move.progress_shape is None else [move.progress],
        "shape": move.progress_shape,
        "new_unit": move.new_await_unit,
        "result": move.result,
        "code": move.error_code,
        "message": move.error_message,
        "replaced": move.replaced_by,
    }
    return {name: value for name, value in columns.items() if value is not None}


class Claim(NamedTuple):
    """An execution that was just claimed, with the data of its command.

    If `checkpoints` is true, the worker reports the output of each step. `takeovers` counts the leases that were lost
    since the last outcome or checkpoint. `protocol` names the transport that sends the command.

    `threads` is how many transitions the release's workers run at once. `seconds` is the average duration of one, None
    if no worker has reported it. `has_rest_worker` says whether one of these workers is called over HTTP.
    `traceparent` is the context of the span that submitted the execution, followed by a space and that of the run whose
    await it resumes from, if there is one; None if it is not traced. `due_seconds` is how long the execution was due.
    `claimed_at` is the time of this process's monotonic clock shortly before the lease began. `last_heartbeat` is the
    JSON text of what a step left for the next attempt, and `finished_items` that of `Command.finished_items`. Each is
    None if there is nothing.
    """

    claimed_at: float
    execution_id: uuid.UUID
    tenant: str
    pipeline_id: str
    contract_version: str
    release_version: str
    version: int
    lease_token: uuid.UUID
    step_index: int
    attempt: int
    input: str
    input_shape: Shape
    result_shape: ResultShape
    checkpoints: bool
    takeovers: int
    protocol: str
    threads: int
    seconds: float | None
    has_rest_worker: bool
    traceparent: str | None
    due_seconds: float
    last_heartbeat: str | None = None
    finished_items: str | None = None


STOCK_SECONDS = 0.4
"""For how many seconds of work a release with fast transitions is sent executions in advance."""
MOST_STOCK = 500
"""The most executions that are sent in advance for each thread."""
MOST_BYTES = 4 * 1024**2
"""How many bytes of payloads, as the database stores them, one claim takes; a single larger payload is taken too."""
A_FEW = 10
"""After a claim of at least this many executions, a further claim may find more."""
BUSY_PAUSES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""How many seconds a claim that found nothing waits before it tries again the releases that another claim locks."""

# An arbitrary number that no other advisory lock uses.
_CLAIMING = 0xC1A1


def claim(
    *, owner: str, limit: int, lease_seconds: float, call_seconds: float = 0, quota: int = 0
) -> tuple[list[Claim], bool]:
    """Claim at most `limit` due executions whose release has an eligible worker with a free place.

    The lease runs from now by the database's clock. An execution for a REST worker is leased in that worker's name, for
    at least `call_seconds`; others in the name of `owner`, for `lease_seconds`. Concurrent claims never take the same
    execution, nor together more than there is room for. With a `quota`, no tenant has more than `quota` executions
    RUNNING, and one claim at a time takes executions, so that its counts are right.

    Also returns whether a further claim may find more. A claim never waits for another claim: it skips a release that
    the other claim has locked, and with a `quota` it skips everything. The other claim may have begun too early to see
    an execution that has just become due, so a claim that finds nothing else tries again after a pause. If the other
    claim is stalled, the executions stay due for a later claim.
    """
    claims, busy = _claim_once(owner, limit, lease_seconds, call_seconds, quota)
    for pause in BUSY_PAUSES:
        if claims or not busy:
            break
        time.sleep(pause)
        claims, busy = _claim_once(owner, limit, lease_seconds, call_seconds, quota)
    return claims, busy or len(claims) >= min(A_FEW, limit)


def _claim_once(
    owner: str, limit: int, lease_seconds: float, call_seconds: float, quota: int
) -> tuple[list[Claim], bool]:
    """Return the claims, and whether due work is left: to a claim that has locked its release, or for its bytes."""
    claimed_at = time.monotonic()
    with transaction.atomic() if quota else nullcontext(), prepared.cursor() as cursor:
        if quota:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%(key)s)", {"key": _CLAIMING})
            if cursor.fetchone() != (True,):
                return [], True
        cursor.execute(*claim_statement(owner, limit, lease_seconds, call_seconds, quota))
        return claims_of(cursor.fetchall(), claimed_at)


def claim_statement(
    owner: str, limit: int, lease_seconds: float, call_seconds: float, quota: int = 0
) -> tuple[str, dict[str, Any]]:
    """Return the statement of a claim and its parameters. With a `quota`, its transaction must hold a lock."""
    parameters = {
        "owner": owner,
        "limit": limit,
        "lease": lease_seconds,
        "call": call_seconds,
        "span": STOCK_SECONDS,
        "most": MOST_STOCK,
        "bytes": MOST_BYTES,
        "quota": quota,
    }
    return statements.CLAIM, parameters


def claims_of(rows: Sequence[tuple[Any, ...]], claimed_at: float) -> tuple[list[Claim], bool]:
    """Return the claims in the rows of a claim's statement, and whether due work is left."""
    claims = [Claim(claimed_at, execution_id, *more) for _, execution_id, *more in rows if execution_id is not None]
    return claims, bool(rows[0][0])


@dataclass(frozen=True, slots=True)
class Expired:
    """An execution whose lease has expired: its new state, and the release that it is pinned to."""

    state: State
    tenant: str
    pipeline_id: str
    release_version: str


def expire_leases(*, actor: str, limit: int, most_takeovers: int, lease_seconds: float) -> dict[uuid.UUID, Expired]:
    """End at most `limit` expired leases, and queue their executions again under the same attempt.

    If workers that may have died have already lost `most_takeovers` leases of an execution in a row, it moves to DLQ
    instead, because its transition may be what kills the workers. So does an execution that lost as many in a row
    while nothing else was heard of it. A lease lasts `lease_seconds`. Returns the executions by their ids.
    """
    losses = counted(most_takeovers + 1, "time")
    parameters: dict[str, Any] = {
        "actor": actor,
        "limit": limit,
        "most": most_takeovers,
        "lease": lease_seconds,
        "message": f"The lease was lost {losses} in a row; the transition may be killing its workers",
        "unheard": f"The lease was lost {losses} in a row, and no outcome arrived although workers lived",
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.EXPIRE, parameters)
        expired = {pk: Expired(State(state), *release) for pk, state, *release in cursor.fetchall()}
    ended = [pk for pk, expiry in expired.items() if expiry.state in TERMINAL]
    if ended:
        wakeup.send(NOTIFY_TASK)  # some may name a channel
        wakeup.send(GRANT_TASK, [str(execution_id) for execution_id in ended])  # some may have a concurrency key
    if endings.demand.exists:
        endings.announce(ended)
    return expired


def renew_leases(
    tenant_pk: int,
    held: Sequence[tuple[uuid.UUID, uuid.UUID]],
    *,
    worker_id: str,
    lease_seconds: float,
    running: Mapping[uuid.UUID, float] = MappingProxyType({}),
) -> set[uuid.UUID]:
    """Renew valid leases for `lease_seconds` by the database's clock, and record that `worker_id` holds them.

    The first worker that names a lease keeps it. For every other worker the lease is lost.

    `held` are pairs of an execution and a lease token. An execution may occur twice: a worker that lost its lease and
    got the execution again still runs both transitions, and only the valid lease is renewed. `running` maps the tokens
    of transitions that a thread runs to their age in seconds. Returns the renewed tokens.
    """
    with prepared.cursor() as cursor:
        cursor.execute(
            statements.RENEW,
            {
                "lease": lease_seconds,
                "owner": f"worker:{worker_id}",
                "worker": worker_id,
                "ids": [execution_id for execution_id, _ in held],
                "tokens": [token for _, token in held],
                "seconds": [running.get(token) for _, token in held],
                "tenant": tenant_pk,
            },
        )
        return {token for (token,) in cursor.fetchall()}


def restore_leases(lost: Sequence[tuple[uuid.UUID, uuid.UUID, bool]], *, worker_id: str) -> dict[uuid.UUID, int]:
    """Give lost leases back to late outcomes that the caller records in the same transaction.

    `lost` names the execution and the token of each outcome, and whether it is a failure. Returns the present versions
    of the executions whose leases are restored. The executions must be locked.
    """
    parameters: dict[str, Any] = {
        "ids": [execution_id for execution_id, _, _ in lost],
        "tokens": [token for _, token, _ in lost],
        "failed": [failed for _, _, failed in lost],
        "owner": f"worker:{worker_id}",
        "worker": worker_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.RESTORE, parameters)
        return dict(cursor.fetchall())


def forget_lost_leases(lost: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Make the loss of these leases final, because their worker is informed. `lost` are executions and tokens."""
    with connection.cursor() as cursor:
        ids, tokens = [execution_id for execution_id, _ in lost], [token for _, token in lost]
        cursor.execute(statements.FORGET_LOST, {"ids": ids, "tokens": tokens})


@dataclass(frozen=True, slots=True)
class Note:
    """An event of an execution that changes nothing else."""

    execution_id: uuid.UUID
    actor: str
    data: Mapping[str, Any]


def note(kind: str, notes: Sequence[Note]) -> None:
    """Write events of `kind`, in their order, and change nothing else."""
    if not notes:
        return
    parameters: dict[str, Any] = {
        "kind": kind,
        "ids": [note.execution_id for note in notes],
        "actors": [note.actor for note in notes],
        "data": [Jsonb(dict(note.data)) for note in notes],
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.NOTE, parameters)
