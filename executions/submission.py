"""Takes executions in: checks the active release and pins each execution to it for good."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from coordinator import bell, prepared
from coordinator.errors import CoordinatorError
from coordinator.tenancy.access import require_valid
from coordinator.tenancy.models import Tenant
from coordinator.tenancy.roles import Scope
from executions import admission
from executions.admission import Admission
from executions.errors import IdempotencyKeyReused, TenantNotAllowed
from executions.group_commit import GroupCommit
from executions.identifiers import new_id
from executions.models import Execution
from executions.states import State
from executions.worker_registry import DISPATCH_TASK
from releases.errors import ActiveReleaseChanged

MOST_IN_A_COMMIT = 500
MOST_TRIES = 5


@dataclass(frozen=True, slots=True)
class Order:
    """One execution that is asked for, under the caller's key."""

    pipeline_id: str
    input: Any
    idempotency_key: str
    expected_release_version: str | None = None
    input_shape: str | None = None
    wire_input: Any = None


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of an order: the execution as it is at this moment, and whether the key had made it before."""

    execution_id: uuid.UUID
    pipeline_id: str
    contract_version: str
    release_version: str
    idempotency_key: str
    submitted_by: str
    created_at: datetime
    duplicate: bool = False
    earlier: Execution | None = None

    @classmethod
    def repeated(cls, first: Execution) -> Self:
        """What a key gives that was used before."""
        return cls(
            first.pk,
            first.pipeline_id,
            first.contract_version,
            first.release_version,
            first.execution_key,
            first.submitted_by,
            first.created_at,
            duplicate=True,
            earlier=first,
        )

    @property
    def execution(self) -> Execution:
        """Its row."""
        return self.earlier or Execution.objects.select_related("tenant").get(pk=self.execution_id)


def submit(
    tenant: Tenant,
    *,
    pipeline_id: str,
    input: Any,  # noqa: A002 - the wire's word
    idempotency_key: str,
    actor: str,
    expected_release_version: str | None = None,
    token: str | None = None,
    input_shape: str | None = None,
    wire_input: Any = None,
) -> Submission:
    """Accept an execution. Once this returns it is durable, pinned, and will run, whatever is activated later.

    `input_shape` says whether the input is one value or the items of a stream, in place of the contract's first step.
    `wire_input` is the input in the payloads in which it came, to be kept beside it.

    The same key with the same input returns the first execution, even where a new one would be refused by now.
    `token` is the digest of the token that asks, where it was let in on a memory of it: it must still be valid when
    the row is written. Raises, in this order: `TenantNotAllowed`, `TokenInvalid`, `PipelineUnknown`,
    `IdempotencyKeyReused`, `NoActiveRelease`, `ActiveReleaseChanged`, `InputInvalid`, `ArtifactMissing`,
    `ArtifactAltered`, `WorkerUnavailable`.
    """
    order = Order(pipeline_id, input, idempotency_key, expected_release_version, input_shape, wire_input)
    [made] = submit_many(tenant, [order], actor=actor, token=token)
    if isinstance(made, CoordinatorError):
        raise made
    return made


def submit_many(
    tenant: Tenant, orders: Sequence[Order], *, actor: str, token: str | None = None
) -> list[Submission | CoordinatorError]:
    """Accept each of `orders` by itself, as `submit` would: what became of each, in their order.

    All that are accepted are durable when this returns; none suffers for another's refusal. Of two with the same key
    the first is taken in, and the second is its duplicate.
    """
    try:
        admission.require_allowed(tenant)
    except TenantNotAllowed as refusal:
        return [refusal for _ in orders]
    given = {pipeline_id: _recalled(tenant, pipeline_id) for pipeline_id in {order.pipeline_id for order in orders}}
    rows = [_hopeful_row(given[order.pipeline_id], order, actor, token) for order in orders]
    known = [row for row in rows if row is not None]
    written = dict(zip((row.id for row in known), _commits.commit(known) if known else [], strict=True))
    made: list[Submission | CoordinatorError | None] = [
        _accepted(row, at) if row is not None and (at := written[row.id]) is not None else None for row in rows
    ]
    rest = [order for order, done in zip(orders, made, strict=True) if done is None]
    settled = iter(_settle(tenant, rest, actor, token) if rest else [])
    return [next(settled) if done is None else done for done in made]


def _recalled(tenant: Tenant, pipeline_id: str) -> Admission | None:
    """The pipeline's consent, for all orders at once; None where it refuses, which is told for each order later."""
    kept = admission.remembered(tenant, pipeline_id)
    if kept is not None:
        return kept
    try:
        given = admission.admission(tenant, pipeline_id)
        given.require_ready()
    except CoordinatorError:
        return None
    return given


def input_digest(value: Any) -> str:
    """Equal for equal JSON values, whatever the order of their members."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Row:
    """An execution on its way into the database."""

    id: uuid.UUID
    admission: Admission
    order: Order
    digest: str
    shape: str
    actor: str
    token: str | None


def _hopeful_row(given: Admission | None, order: Order, actor: str, token: str | None) -> _Row | None:
    """The row, where the consent lets it in; None where the facts must be looked at once more."""
    if given is None:
        return None
    try:
        return _row(given, order, actor, token)
    except CoordinatorError:
        return None


def _row(given: Admission, order: Order, actor: str, token: str | None) -> _Row:
    given.require_expected(order.expected_release_version)
    shape = given.input_shape(order.input, order.input_shape)
    return _Row(new_id(), given, order, input_digest(order.input), shape, actor, token)


def _settle(
    tenant: Tenant, orders: Sequence[Order], actor: str, token: str | None
) -> Iterator[Submission | CoordinatorError]:
    """What becomes of orders by the facts of this moment; only here is anything refused, or found to be there."""
    firsts = _firsts(tenant, orders)
    for order in orders:
        try:
            require_valid(token, Scope.SUBMIT)
            first = firsts.get((order.pipeline_id, order.idempotency_key))
            yield _repeated(order, first) if first is not None else _settled(tenant, order, actor, token)
        except CoordinatorError as refusal:
            yield refusal


def _settled(tenant: Tenant, order: Order, actor: str, token: str | None) -> Submission:
    for _ in range(MOST_TRIES):
        given = admission.admission(tenant, order.pipeline_id)
        row = _row(given, order, actor, token)
        given.require_ready()
        [at] = _commits.commit([row])
        if at is not None:
            return _accepted(row, at)
        require_valid(token, Scope.SUBMIT)
        for first in _firsts(tenant, [order]).values():
            return _repeated(order, first)
    raise ActiveReleaseChanged(f"The active release of {order.pipeline_id!r} keeps changing; submit again.")


def _firsts(tenant: Tenant, orders: Sequence[Order]) -> dict[tuple[str, str], Execution]:
    """The executions that have the keys of these orders, whatever their input."""
    found: dict[tuple[str, str], Execution] = {}
    for pipeline_id in {order.pipeline_id for order in orders}:
        keys = [order.idempotency_key for order in orders if order.pipeline_id == pipeline_id]
        for each in Execution.objects.filter(tenant=tenant, pipeline_id=pipeline_id, execution_key__in=keys):
            each.tenant = tenant
            found[pipeline_id, each.execution_key] = each
    return found


def _repeated(order: Order, first: Execution) -> Submission:
    if first.input_digest != input_digest(order.input):
        raise IdempotencyKeyReused(
            f"The key {order.idempotency_key!r} belongs to execution {first.pk}, which has another input.",
            executionId=str(first.pk),
        )
    return Submission.repeated(first)


# A row is written only where its release is still the active one, and registered, and the token that asks still
# valid: whatever was remembered is worth nothing against the tables. The order of keys keeps two groups that share
# some from waiting for each other in a circle.
_INSERT = """
WITH asked AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS a(
        id uuid, release bigint, activation bigint, key text, digest text, input jsonb, shape text, result_shape text,
        checkpoints bool, actor text, token text, wire_input jsonb)
), accepted AS (
    INSERT INTO executions_execution (
        id, tenant_id, release_id, pipeline_id, contract_version, release_version, execution_key, input_digest, input,
        input_shape, result_shape, checkpoints, budget_start, takeovers, status, version, event_count,
        current_step_index, attempt, next_due_at, submitted_by, created_at, updated_at)
    SELECT a.id, p.tenant_id, r.id, p.pipeline_id, r.contract_version, r.release_version, a.key, a.digest, a.input -> 0,
        a.shape, a.result_shape, a.checkpoints, 0, 0, %(queued)s, 0, 1, 0, 0, now(), a.actor, now(), now()
    FROM asked a
    JOIN releases_release r ON r.id = a.release AND r.status = 'REGISTERED'
    JOIN releases_pipeline p ON p.id = r.pipeline_id AND p.activation_id = a.activation
    WHERE a.token IS NULL OR EXISTS (
        SELECT FROM tenancy_apitoken t JOIN auth_user u ON u.id = t.user_id
        WHERE t.digest = a.token AND t.tenant_id = p.tenant_id AND u.is_active
            AND (t.expiry IS NULL OR t.expiry > now()) AND %(scope)s = ANY (t.scopes))
    ORDER BY p.tenant_id, p.pipeline_id, a.key
    ON CONFLICT (tenant_id, pipeline_id, execution_key) DO NOTHING
    RETURNING id, status, contract_version, release_version, submitted_by, created_at
), kept AS (
    INSERT INTO executions_wireform (execution_id, input)
    SELECT accepted.id, a.wire_input FROM accepted JOIN asked a ON a.id = accepted.id WHERE a.wire_input IS NOT NULL
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
    SELECT id, 1, 'SUBMITTED', status, submitted_by,
        jsonb_build_object('contractVersion', contract_version, 'releaseVersion', release_version), created_at
    FROM accepted
)
SELECT id, created_at FROM accepted
"""


def _insert(rows: list[_Row]) -> list[datetime | None]:
    """When each was written; None for what the tables did not let in."""
    asked = json.dumps([_as_json(row) for row in rows], ensure_ascii=False, default=str)
    columns = {"rows": asked, "queued": State.QUEUED.value, "scope": Scope.SUBMIT.value}
    with prepared.cursor() as cursor:
        cursor.execute(_INSERT, columns)
        written: dict[uuid.UUID, datetime] = dict(cursor.fetchall())
    if written:
        bell.ring_once(DISPATCH_TASK)
    return [written.get(row.id) for row in rows]


def _as_json(row: _Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "release": row.admission.release.pk,
        "activation": row.admission.activation,
        "key": row.order.idempotency_key,
        "digest": row.digest,
        "input": [row.order.input],
        "shape": row.shape,
        "result_shape": row.admission.result_shape,
        "checkpoints": row.admission.checkpoints,
        "actor": row.actor,
        "token": row.token,
        "wire_input": row.order.wire_input,
    }


_commits = GroupCommit(_insert, limit=MOST_IN_A_COMMIT)


def _accepted(row: _Row, at: datetime) -> Submission:
    """The execution as it was written, without reading it back."""
    release = row.admission.release
    return Submission(
        row.id,
        row.order.pipeline_id,
        release.contract_version,
        release.release_version,
        row.order.idempotency_key,
        row.actor,
        at,
    )
