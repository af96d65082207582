"""Takes executions in: checks the active release and pins each execution to it for good."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Self

from executions.errors import IdempotencyKeyReused, TenantNotAllowed
from executions.models import Execution
from executions.submission import admission
from executions.submission.admission import Admission
from executions.submission.insertion import Row, commits
from foundation.errors import CoordinatorError
from foundation.wakeups.broker_gate import gate
from releases.errors import ActiveReleaseChanged
from tenancy.access import require_valid
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents import json_values

MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Order:
    """One requested execution, under the caller's key.

    With `key_alone` the key returns its first execution for any input (wire protocol C.1.2).
    """

    pipeline_id: str
    input: Any
    idempotency_key: str
    expected_release_version: str | None = None
    input_shape: str | None = None
    wire_input: Any = None
    key_alone: bool = False


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
    dispatch_delayed: bool = False
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

    @classmethod
    def made(cls, row: Row, order: Order, actor: str, at: datetime) -> Self:
        """Return the execution as its row was written at `at`, without reading it back."""
        release = row.release
        return cls(
            row.id,
            order.pipeline_id,
            release.contract_version,
            release.release_version,
            order.idempotency_key,
            actor,
            at,
            dispatch_delayed=row.interrupted or gate.refused,
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
    key_alone: bool = False,
) -> Submission:
    """Accept an execution. Once this returns it is durable, pinned, and will run, whatever is activated later.

    `input_shape` says whether the input is one value or the items of a stream, in place of the contract's first step.
    `wire_input` is the input in its original payloads, to be stored with it.

    The same key with an equal input returns the first execution, even if a new one would be refused now; with
    `key_alone` it does so for any input.
    `token` is the digest of the caller's token if a cached check authenticated it: it must still be valid when the row
    is written. Raises, in this order: `TenantNotAllowed`, `TokenInvalid`, `PipelineUnknown`,
    `IdempotencyKeyReused`, `NoActiveRelease`, `ActiveReleaseChanged`, `InputInvalid`, `ArtifactMissing`,
    `ArtifactAltered`, `WorkerUnavailable`.
    """
    order = Order(pipeline_id, input, idempotency_key, expected_release_version, input_shape, wire_input, key_alone)
    [made] = submit_many(tenant, [order], actor=actor, token=token)
    if isinstance(made, CoordinatorError):
        raise made
    return made


Verdict = Submission | CoordinatorError
Key = tuple[str, str]
"""A pipeline's id and an idempotency key."""


def submit_many(tenant: Tenant, orders: Sequence[Order], *, actor: str, token: str | None = None) -> list[Verdict]:
    """Accept each of `orders` separately, as `submit` would. Return the result of each, in their order.

    All accepted executions are durable when this returns. A refusal does not affect the other orders. If several orders
    have the same key, the first one that can be accepted is accepted, and the others repeat it.
    """
    try:
        admission.require_allowed(tenant)
    except TenantNotAllowed as refusal:
        return [refusal for _ in orders]
    batch = _Batch(tenant, [_Item(order) for order in orders], actor, token)
    batch.accept_from_memory()
    for _ in range(MOST_ROUNDS):
        if not batch.undecided:
            break
        batch.decide()
    return [item.verdict or _ever_changing(item.order) for item in batch.items]


@dataclass
class _Item:
    """One order of a batch, and its verdict once there is one."""

    order: Order
    verdict: Verdict | None = None

    @property
    def key(self) -> Key:
        return self.order.pipeline_id, self.order.idempotency_key

    @cached_property
    def digest(self) -> str:
        return json_values.digest(self.order.input)


class _Batch:
    """The orders of one request. Each pipeline is checked once, and all admitted orders are written at once."""

    def __init__(self, tenant: Tenant, items: list[_Item], actor: str, token: str | None) -> None:
        self.items = items
        self._tenant = tenant
        self._actor = actor
        self._token = token

    @property
    def undecided(self) -> list[_Item]:
        return [item for item in self.items if item.verdict is None]

    def accept_from_memory(self) -> None:
        """Accept the items that cached admissions admit. The others and repeated keys stay undecided."""
        recalled = {pipeline_id: _recalled(self._tenant, pipeline_id) for pipeline_id in _pipelines(self.items)}
        keys: set[Key] = set()
        rows: list[tuple[_Item, Row]] = []
        for item in self.items:
            if item.key in keys:
                continue
            keys.add(item.key)
            admission = recalled[item.order.pipeline_id]
            if admission is not None and isinstance(shape := _shape(admission, item.order), str):
                rows.append((item, self._row(admission, item, shape)))
        self._write(rows)

    def decide(self) -> None:
        """Decide by the current state. An item stays undecided if the state changes before its row is written."""
        try:
            require_valid(self._token, Scope.SUBMIT)
        except CoordinatorError as refusal:
            for item in self.undecided:
                item.verdict = refusal
            return
        self._find_earlier()
        judged = {pipeline_id: _Judged(self._tenant, pipeline_id) for pipeline_id in _pipelines(self.undecided)}
        rows: dict[Key, tuple[_Item, Row]] = {}
        for item in self.undecided:
            if item.key in rows:
                continue  # the next round finds the execution of the first
            made = self._judge(judged[item.order.pipeline_id], item)
            if isinstance(made, Row):
                rows[item.key] = item, made
            else:
                item.verdict = made
        self._write(list(rows.values()))

    def _find_earlier(self) -> None:
        """Give a verdict to each item whose key has an execution already."""
        undecided = self.undecided
        first = _executions(self._tenant, undecided)
        for item in undecided:
            if item.key in first:
                item.verdict = _repeated(item, first[item.key])

    def _judge(self, judged: "_Judged", item: _Item) -> Row | CoordinatorError:
        admission = judged.admission
        if isinstance(admission, CoordinatorError):
            return admission
        shape = _shape(admission, item.order)
        if isinstance(shape, CoordinatorError):
            return shape
        return judged.unready or self._row(admission, item, shape)

    def _row(self, admission: Admission, item: _Item, shape: str) -> Row:
        order = item.order
        return Row.of(
            admission,
            key=order.idempotency_key,
            digest=item.digest,
            input=[order.input],
            shape=shape,
            actor=self._actor,
            token=self._token,
            wire_input=order.wire_input,
        )

    def _write(self, rows: Sequence[tuple[_Item, Row]]) -> None:
        if not rows:
            return
        for (item, row), at in zip(rows, commits.commit([row for _, row in rows]), strict=True):
            if at is not None:
                item.verdict = Submission.made(row, item.order, self._actor, at)


class _Judged:
    """The current state of a pipeline, looked up once for all its items."""

    def __init__(self, tenant: Tenant, pipeline_id: str) -> None:
        self.admission: Admission | CoordinatorError
        try:
            self.admission = admission.admission(tenant, pipeline_id)
        except CoordinatorError as refusal:
            self.admission = refusal

    @cached_property
    def unready(self) -> CoordinatorError | None:
        """Why the pipeline accepts no executions: its release, the artifacts, or the workers."""
        if isinstance(self.admission, CoordinatorError):
            return self.admission
        try:
            self.admission.require_ready()
        except CoordinatorError as refusal:
            return refusal
        return None


def _recalled(tenant: Tenant, pipeline_id: str) -> Admission | None:
    """Return the pipeline's admission, cached or new; None if it accepts no executions: `decide` then finds out why."""
    kept = admission.remembered(tenant, pipeline_id)
    if kept is not None:
        return kept
    judged = _Judged(tenant, pipeline_id)
    return None if judged.unready or isinstance(judged.admission, CoordinatorError) else judged.admission


def _pipelines(items: Iterable[_Item]) -> set[str]:
    return {item.order.pipeline_id for item in items}


def _shape(given: Admission, order: Order) -> str | CoordinatorError:
    """Return the shape of the input, or why the order is not admitted."""
    try:
        given.require_expected(order.expected_release_version)
        return given.input_shape(order.input, order.input_shape)
    except CoordinatorError as refusal:
        return refusal


def _executions(tenant: Tenant, items: Sequence[_Item]) -> dict[Key, Execution]:
    """Return the executions that have the keys of these items, with any input; payloads are not read."""
    found: dict[Key, Execution] = {}
    for pipeline_id in _pipelines(items):
        keys = {item.order.idempotency_key for item in items if item.order.pipeline_id == pipeline_id}
        rows = Execution.objects.filter(tenant=tenant, pipeline_id=pipeline_id, execution_key__in=keys)
        for each in rows.defer("input", "progress", "result"):
            each.tenant = tenant
            found[pipeline_id, each.execution_key] = each
    return found


def _repeated(item: _Item, first: Execution) -> Verdict:
    if item.order.key_alone or first.input_digest == item.digest:
        return Submission.repeated(first)
    return IdempotencyKeyReused(
        f"The key {first.execution_key!r} belongs to execution {first.pk}, which has another input.",
        executionId=str(first.pk),
    )


def _ever_changing(order: Order) -> CoordinatorError:
    return ActiveReleaseChanged(f"The active release of {order.pipeline_id!r} keeps changing; submit again.")
