"""Submits executions: checks whether the pipeline admits them, and pins each one to a release permanently.

This is the active release, or the candidate of a gradual activation for the part of the executions that it gets.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db.models import BooleanField, CharField, Func, Value

from executions import metrics
from executions.errors import IdempotencyKeyReused, TenantNotAllowed
from executions.models import AdmissionReceipt, Execution
from executions.submission import admission, allowance, channels, places, start
from executions.submission.admission import Admission, Decision
from executions.submission.insertion import Row, commits
from executions.submission.start import Start
from foundation import retry
from foundation.broker_gate import gate
from foundation.database.compiled import Compiled
from foundation.database.writes import after_commit
from foundation.errors import CoordinatorError, PayloadTooLarge
from foundation.telemetry import traces
from releases.errors import ActiveReleaseChanged, ReleaseNotOpen
from tenancy.access import require_scope, valid_token
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents import json_writer


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """A request to run a pipeline once, with the caller's idempotency key.

    `release_version` names the release to run instead of the active one, if it is still open: see `admission.named`.

    `input_shape` is UNI or MULTI; if it is None, the contract's first step determines it. `wire_input` is the input in
    its original payloads, to be stored with the execution. With `key_alone` a repeated key returns its first execution
    for any input (wire protocol C.1.2). `tags`, and `routing_key` or else the idempotency key, decide whether a
    candidate gets the execution. With `expected_release_version`, only the active release does. `receipt` is written
    with a new execution, in the same transaction. `notify` is the name of a channel that gets a message at its end.
    `start` says when the execution starts; None for at once.
    """

    pipeline_id: str
    input: Any
    idempotency_key: str
    expected_release_version: str | None = None
    input_shape: str | None = None
    wire_input: Any = None
    key_alone: bool = False
    release_version: str | None = None
    routing_key: str | None = None
    tags: Sequence[str] = ()
    receipt: AdmissionReceipt | None = None
    notify: str | None = None
    start: Start | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted request: its execution, and whether an earlier request with the same key created that.

    `earlier` is the current row of a duplicate's execution. `dispatch_delayed` is True if no message can be sent at the
    moment. With `starts`, the database chose when the execution is due: see `Row`.
    """

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
    tags: Sequence[str] = ()
    starts: bool = False

    @classmethod
    def repeated(cls, first: Execution) -> Self:
        """Return the result for a key that created the execution `first` before."""
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
            tags=first.tags or (),
        )

    @classmethod
    def inserted(cls, row: Row, request: ExecutionRequest, actor: str, at: datetime) -> Self:
        """Return the result for a row that was inserted at `at`, without reading the row again."""
        release = row.release
        return cls(
            row.id,
            request.pipeline_id,
            release.contract_version,
            release.release_version,
            request.idempotency_key,
            actor,
            at,
            dispatch_delayed=row.interrupted or gate.refused,
            tags=request.tags,
            starts=row.starts,
        )

    @property
    def execution(self) -> Execution:
        """The execution's row. A new one is read from the database."""
        return self.earlier or Execution.objects.select_related("tenant").get(pk=self.execution_id)


Verdict = Submission | CoordinatorError
"""The result of one request: accepted, or the reason why not."""

MAX_ROUNDS = 5
LONGEST_WAIT_SECONDS = 30

Key = tuple[str, str]
"""A pipeline's id and an idempotency key."""
Target = tuple[str, str | None]
"""A pipeline's id and the release that a request names."""

_is_any = partial(Func, template="%(expressions)s)", arg_joiner=" = ANY(", output_field=BooleanField())
_EARLIER = Compiled(
    lambda tenant, pipeline, keys: Execution.objects.filter(
        _is_any("execution_key", Value(keys, ArrayField(CharField()))),
        tenant_id=tenant,
        pipeline_id=pipeline,
    ).defer("input", "progress", "result"),
    tenant=-1,
    pipeline="pipeline?",
    keys=["key?"],
)
"""The executions of these keys, without their payloads."""


def submit(tenant: Tenant, request: ExecutionRequest, *, actor: str, token: str | None = None) -> Submission:
    """Submit one execution.

    When this returns, the execution is durable and pinned, and it will run, even if another release is activated later.
    A repeated key with an equal input returns the first execution, even if a new one would be rejected now.

    `token` is the digest of the caller's token if a cached check authenticated it: the token must still be valid when
    the row is inserted.

    Raises, in this order: `TenantNotAllowed`, `TokenInvalid`, `PipelineUnknown`, `IdempotencyKeyReused`,
    `NoActiveRelease`, `PipelinePaused`, `ActiveReleaseChanged`, `InputInvalid`, `ArtifactMissing`, `ArtifactAltered`,
    `ArtifactUnverified`, `WorkerUnavailable`, `QuotaExceeded`. With `release_version`, it raises `ReleaseUnknown`,
    `ReleaseNotAdmitted` and `ReleaseNotOpen` instead of `NoActiveRelease`. An input larger than the tenant's quota
    raises `PayloadTooLarge` after `IdempotencyKeyReused`. Then an unknown channel in `notify` raises
    `NotifyChannelUnknown`, and a `start` that is not possible raises `InvalidRequest`. Last, a release
    that limits its executions may raise `ConcurrencyLimitReached`.
    """
    [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    if isinstance(verdict, CoordinatorError):
        raise verdict
    return verdict


def submit_many(
    tenant: Tenant, requests: Sequence[ExecutionRequest], *, actor: str, token: str | None = None
) -> list[Verdict]:
    """Submit each request as `submit` does. Return their results in the same order.

    All accepted executions are durable when this returns. A rejected request does not affect the others. If several
    requests have the same key, the first of them that can be accepted is, and the others repeat it.
    """
    try:
        admission.require_allowed(tenant)
    except TenantNotAllowed as refusal:
        return [refusal.with_traceback(None)] * len(requests)
    batch = _Batch(tenant, [_Item(request) for request in requests], actor, token)
    for item in batch.items:
        if item.request.notify is not None:
            batch.find_channels()
            break
    for item in batch.items:
        if item.request.start is not None:
            item.refusal = item.refusal or item.request.start.refusal()
    batch.accept_cached()
    for _ in range(MAX_ROUNDS):
        if not batch.undecided:
            break
        batch.decide()
    return [
        item.verdict
        or ActiveReleaseChanged(f"The active release of {item.request.pipeline_id!r} keeps changing; submit again.")
        for item in batch.items
    ]


class _Item:
    """A request of a batch. `verdict` is None until it is decided. `channel` is the id of its channel.

    `refusal` is set if there is no such channel or if its start is not possible. It counts unless the key is a repeated
    one.
    """

    channel: uuid.UUID | None = None
    refusal: CoordinatorError | None = None

    def __init__(self, request: ExecutionRequest) -> None:
        self.request = request
        self.key: Key = (request.pipeline_id, request.idempotency_key)
        self.verdict: Verdict | None = None
        self._digest = ""

    @property
    def target(self) -> Target:
        return self.request.pipeline_id, self.request.release_version

    @property
    def digest(self) -> str:
        if not self._digest:  # `cached_property` takes a lock
            self._digest = json_writer.digest(self.request.input)
        return self._digest

    @cached_property
    def size(self) -> int:
        return len(json_writer.text(self.request.input).encode())


class _Batch:
    """The requests of one call. Each target is checked once, and all admitted requests are inserted together."""

    def __init__(self, tenant: Tenant, items: list[_Item], actor: str, token: str | None) -> None:
        self.items = items
        self._tenant = tenant
        self._actor = actor
        self._token = token

    @property
    def undecided(self) -> list[_Item]:
        return [item for item in self.items if item.verdict is None]

    def find_channels(self) -> None:
        """Find the channels that requests name. Note the refusal of requests whose channel does not exist."""
        named = [(item, item.request.notify) for item in self.items if item.request.notify is not None]
        found = channels.find(self._tenant, {name for _, name in named})
        for item, name in named:
            item.channel = found.get(name)
            if item.channel is None:
                item.refusal = channels.unknown(name)

    def accept_cached(self) -> None:
        """Accept the items that cached admissions admit. Other items and repeated keys stay undecided."""
        admissions = {pipeline_id: admission.ready(self._tenant, pipeline_id) for pipeline_id in _pipelines(self.items)}
        keys = {item.key for item in self._large()}
        rows: list[tuple[_Item, Row]] = []
        for item in self.undecided:
            if item.key in keys or item.refusal is not None:
                continue
            keys.add(item.key)
            cached = admissions[item.request.pipeline_id]
            if cached is None or item.request.release_version not in (None, cached.release.release_version):
                continue
            admitted = self._routed(cached, item.request)
            if isinstance(shape := _shape(admitted, item.request), str):
                rows.append((item, self._row(admitted, item, shape)))
        # A key may be a repeated one, which no quota refuses, so `decide` refuses what is too much.
        self._insert(rows, refuse=False)

    def decide(self) -> None:
        """Decide by the current state. An item stays undecided if the state changes before its row is inserted."""
        try:
            if self._token is not None:
                require_scope(valid_token(self._token), Scope.SUBMIT)
        except CoordinatorError as refusal:
            for item in self.undecided:
                item.verdict = refusal.with_traceback(None)
            return
        self._find_earlier()
        self._refuse_large()
        decisions = {target: Decision(self._tenant, *target) for target in {item.target for item in self.undecided}}
        rows: dict[Key, tuple[_Item, Row]] = {}
        for item in self.undecided:
            if item.key in rows:
                continue  # the next round finds the execution of the first item with this key
            admitted = self._admit(decisions[item.target], item)
            if isinstance(admitted, Row):
                rows[item.key] = item, admitted
            else:
                item.verdict = admitted
        self._insert(list(rows.values()), refuse=True)

    def _find_earlier(self) -> None:
        """Decide the items whose keys have executions already, with any input. Reads no payloads."""
        undecided = self.undecided
        for pipeline_id in _pipelines(undecided):
            items = [item for item in undecided if item.request.pipeline_id == pipeline_id]
            keys = {item.request.idempotency_key for item in items}
            for first in _EARLIER.rows(tenant=self._tenant.pk, pipeline=pipeline_id, keys=list(keys)):
                first.tenant = self._tenant
                for item in items:
                    if item.request.idempotency_key == first.execution_key:
                        item.verdict = _repeated(item, first)

    def _large(self) -> list[_Item]:
        """Return the undecided items whose input exceeds the tenant's quota."""
        limit = self._tenant.quota_payload_bytes
        return [] if limit is None else [item for item in self.undecided if item.size > limit]

    def _refuse_large(self) -> None:
        limit = self._tenant.quota_payload_bytes
        for item in self._large():
            detail = f"The input has {item.size:,} bytes, and the tenant's quota payloadBytes is {limit:,}."
            item.verdict = PayloadTooLarge(detail, limit=limit, quota="payloadBytes")

    def _admit(self, decision: Decision, item: _Item) -> Row | CoordinatorError:
        if item.refusal is not None:
            return item.refusal
        if isinstance(decision.admission, CoordinatorError):
            return decision.admission
        admission = self._routed(decision.admission, item.request)
        shape = _shape(admission, item.request)
        return shape if isinstance(shape, CoordinatorError) else decision.unready or self._row(admission, item, shape)

    def _routed(self, active: Admission, request: ExecutionRequest) -> Admission:
        """Return the admission to the release that the request gets.

        One that names a release, or expects it to be active, never gets the candidate of another.
        """
        fixed = request.release_version is not None or request.expected_release_version is not None
        if active.candidate is None or fixed:
            return active
        key = request.routing_key or request.idempotency_key
        is_taken = active.candidate.routing.takes(key, tags=request.tags, actor=self._actor)
        return active.candidate.admission if is_taken else active

    def _row(self, admission: Admission, item: _Item, shape: str) -> Row:
        request = item.request
        columns: dict[str, Any] = {
            "key": request.idempotency_key,
            "digest": item.digest,
            "input": [request.input],
            "shape": shape,
            "actor": self._actor,
            "token": self._token,
            "wire_input": request.wire_input,
        }
        if request.tags:
            columns["tags"] = list(request.tags)
        if request.release_version is not None:
            columns["named"] = True
        if item.channel is not None:
            columns["notify"] = item.channel
        if request.start is not None:
            columns |= request.start.columns
        if traceparent := traces.current():
            columns["traceparent"] = traceparent
        return Row.of(admission, request.receipt, **columns)

    def _insert(self, rows: Sequence[tuple[_Item, Row]], *, refuse: bool) -> None:
        """Insert the rows that the tenant's quotas permit. If `refuse`, reject the others."""
        if not rows:
            return
        with allowance.Admitted(self._tenant, len(rows)) as admitted:
            permitted = rows[: admitted.count]
            times = _times([row for _, row in permitted]) if permitted else []
            admitted.inserted = len(times) - times.count(None) - times.count(places.FULL)
        accepted: list[tuple[metrics.Pin, uuid.UUID]] = []
        counts: dict[metrics.Pin, int] = {}
        starting: list[tuple[Row, Start | None]] = []
        for (item, row), at in zip(permitted, times, strict=True):
            if at is places.FULL:
                item.verdict = places.refusal(row.concurrency_key) if refuse else None
            elif at is not None:
                pin = self._tenant.slug, item.request.pipeline_id, row.release.release_version
                accepted.append((pin, row.id))
                counts[pin] = counts.get(pin, 0) + 1
                item.verdict = Submission.inserted(row, item.request, self._actor, at)
                if row.starts:
                    starting.append((row, item.request.start))
        for pin, count in counts.items():
            metrics.submitted.add(*pin, amount=count)
        after_commit(lambda: metrics.write_lines("Accepted", accepted))
        if starting:
            start.announce([each for _, each in starting if each is not None])
            places.announce([row.id for row, _ in starting if row.concurrency_key])
        for item, _ in rows[admitted.count :] if refuse else ():
            item.verdict = admitted.refusal


def _times(rows: Sequence[Row]) -> Sequence[datetime | None]:
    """Insert the rows. Return when each was inserted; None if it was not, and `places.FULL` if no place was free."""
    for row in rows:
        if row.refuses:
            return places.insert(rows)
    return commits.commit(rows)


def _pipelines(items: Iterable[_Item]) -> set[str]:
    return {item.request.pipeline_id for item in items}


def _shape(admission: Admission, request: ExecutionRequest) -> str | CoordinatorError:
    try:
        admission.require_expected(request.expected_release_version)
        return admission.input_shape(request.input, request.input_shape)
    except CoordinatorError as refusal:
        return refusal.with_traceback(None)


def _repeated(item: _Item, first: Execution) -> Verdict:
    other = "input" if not item.request.key_alone and first.input_digest != item.digest else ""
    if item.request.release_version not in (None, first.release_version):
        other = "release"
    if not other:
        return Submission.repeated(first)
    return IdempotencyKeyReused(
        f"The key {first.execution_key!r} belongs to execution {first.pk}, which has another {other}.",
        executionId=str(first.pk),
    )


def submit_when_open(
    tenant: Tenant,
    request: ExecutionRequest,
    *,
    actor: str,
    token: str | None = None,
    wait_seconds: float,
    pause: Callable[[float], None],
) -> Verdict:
    """Submit `request` as `submit_many` does. If its release was never active, wait for up to `wait_seconds`.

    Each attempt decides by the current state, so a release that is revoked meanwhile is refused. `pause` sleeps for a
    number of seconds and is not called in a transaction.
    """
    deadline = time.monotonic() + wait_seconds
    [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    for seconds in retry.pauses_until(deadline):
        if not isinstance(verdict, ReleaseNotOpen) or not verdict.may_open:
            break
        pause(seconds)
        [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    return verdict
