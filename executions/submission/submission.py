"""Submits executions: checks whether the pipeline admits them, and pins each one to a release permanently.

This is the active release, or the candidate of a gradual activation for the part of the executions that it gets.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import transaction

from executions import metrics
from executions.errors import IdempotencyKeyReused, TenantNotAllowed
from executions.models import Execution
from executions.submission import admission, allowance
from executions.submission.admission import Admission, Purpose
from executions.submission.insertion import Row, commits
from executions.submission.requests import ExecutionRequest, Submission, Verdict
from foundation import retry
from foundation.errors import CoordinatorError, PayloadTooLarge
from foundation.telemetry import traces
from releases.errors import ActiveReleaseChanged, ReleaseNotOpen
from tenancy.access import require_scope, valid_token
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents import json_writer

MAX_ROUNDS = 5


Key = tuple[str, str]
"""A pipeline's id and an idempotency key."""
Target = tuple[str, str | None]
"""A pipeline's id and the release that a request names."""


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
    raises `PayloadTooLarge` after `IdempotencyKeyReused`.
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
        return [refusal for _ in requests]
    batch = _Batch(tenant, [_Item(request) for request in requests], actor, token)
    batch.accept_cached()
    for _ in range(MAX_ROUNDS):
        if not batch.undecided:
            break
        batch.decide()
    return [item.verdict or _unstable(item.request) for item in batch.items]


@dataclass
class _Item:
    """A request of a batch. `verdict` is None until it is decided."""

    request: ExecutionRequest
    verdict: Verdict | None = None

    @property
    def key(self) -> Key:
        return self.request.pipeline_id, self.request.idempotency_key

    @property
    def target(self) -> Target:
        return self.request.pipeline_id, self.request.release_version

    @cached_property
    def digest(self) -> str:
        return json_writer.digest(self.request.input)

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

    def accept_cached(self) -> None:
        """Accept the items that cached admissions admit. Other items and repeated keys stay undecided."""
        admissions = {
            pipeline_id: _ready_admission(self._tenant, pipeline_id) for pipeline_id in _pipelines(self.items)
        }
        keys = {item.key for item in self._large()}
        rows: list[tuple[_Item, Row]] = []
        for item in self.undecided:
            if item.key in keys:
                continue
            keys.add(item.key)
            cached = admissions[item.request.pipeline_id]
            if cached is None or item.request.release_version not in (None, cached.release.release_version):
                continue
            admission = self._routed(cached, item.request)
            if isinstance(shape := _shape(admission, item.request), str):
                rows.append((item, self._row(admission, item, shape)))
        # A key may be a repeated one, which no quota refuses, so `decide` refuses what is too much.
        self._insert(rows, refuse=False)

    def decide(self) -> None:
        """Decide by the current state. An item stays undecided if the state changes before its row is inserted."""
        try:
            if self._token is not None:
                require_scope(valid_token(self._token), Scope.SUBMIT)
        except CoordinatorError as refusal:
            for item in self.undecided:
                item.verdict = refusal
            return
        self._find_earlier()
        self._refuse_large()
        states = {target: _State(self._tenant, *target) for target in {item.target for item in self.undecided}}
        rows: dict[Key, tuple[_Item, Row]] = {}
        for item in self.undecided:
            if item.key in rows:
                continue  # the next round finds the execution of the first item with this key
            admitted = self._admit(states[item.target], item)
            if isinstance(admitted, Row):
                rows[item.key] = item, admitted
            else:
                item.verdict = admitted
        self._insert(list(rows.values()), refuse=True)

    def _find_earlier(self) -> None:
        """Decide the items whose keys have executions already."""
        undecided = self.undecided
        first = _executions(self._tenant, undecided)
        for item in undecided:
            if item.key in first:
                item.verdict = _repeated(item, first[item.key])

    def _large(self) -> list[_Item]:
        """Return the undecided items whose input exceeds the tenant's quota."""
        limit = self._tenant.quota_payload_bytes
        return [] if limit is None else [item for item in self.undecided if item.size > limit]

    def _refuse_large(self) -> None:
        limit = self._tenant.quota_payload_bytes
        for item in self._large():
            detail = f"The input has {item.size:,} bytes, and the tenant's quota payloadBytes is {limit:,}."
            item.verdict = PayloadTooLarge(detail, limit=limit, quota="payloadBytes")

    def _admit(self, state: "_State", item: _Item) -> Row | CoordinatorError:
        if isinstance(state.admission, CoordinatorError):
            return state.admission
        admission = self._routed(state.admission, item.request)
        shape = _shape(admission, item.request)
        if isinstance(shape, CoordinatorError):
            return shape
        return state.unready or self._row(admission, item, shape)

    def _routed(self, active: Admission, request: ExecutionRequest) -> Admission:
        """Return the admission to the release that the request gets.

        One that names a release, or expects it to be active, never gets the candidate of another.
        """
        fixed = request.release_version is not None or request.expected_release_version is not None
        if active.candidate is None or fixed:
            return active
        return admission.routed(active, request.routing_key or request.idempotency_key, request.tags, self._actor)

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
        if traceparent := traces.current():
            columns["traceparent"] = traceparent
        return Row.of(admission, request.receipt, **columns)

    def _insert(self, rows: Sequence[tuple[_Item, Row]], *, refuse: bool) -> None:
        """Insert the rows that the tenant's quotas permit. If `refuse`, reject the others."""
        if not rows:
            return
        with allowance.admitted(self._tenant, len(rows)) as admitted:
            permitted = rows[: admitted.count]
            times = commits.commit([row for _, row in permitted]) if permitted else []
            admitted.inserted = len(times) - times.count(None)
        accepted: list[tuple[metrics.Pin, uuid.UUID]] = []
        for (item, row), at in zip(permitted, times, strict=True):
            if at is not None:
                pin = self._tenant.slug, item.request.pipeline_id, row.release.release_version
                metrics.submitted.add(*pin)
                accepted.append((pin, row.id))
                item.verdict = Submission.inserted(row, item.request, self._actor, at)
        transaction.on_commit(lambda: metrics.write_lines("Accepted", accepted))
        for item, _ in rows[admitted.count :] if refuse else ():
            item.verdict = admitted.refusal


class _State:
    """The current state of a pipeline, or of a named release of it, queried once for all its items."""

    def __init__(self, tenant: Tenant, pipeline_id: str, release_version: str | None = None) -> None:
        self.admission: Admission | CoordinatorError
        try:
            if release_version is None:
                self.admission = admission.current(tenant, pipeline_id)
            else:
                self.admission = admission.named(tenant, pipeline_id, release_version, Purpose.SUBMISSION)
        except CoordinatorError as refusal:
            self.admission = refusal

    @cached_property
    def unready(self) -> CoordinatorError | None:
        """Why the pipeline accepts no executions: because of its release, its artifacts or its workers."""
        if isinstance(self.admission, CoordinatorError):
            return self.admission
        try:
            self.admission.require_ready()
        except CoordinatorError as refusal:
            return refusal
        return None


def _ready_admission(tenant: Tenant, pipeline_id: str) -> Admission | None:
    """Return the pipeline's admission, cached or new. Return None if it accepts no executions; `decide` reports why."""
    known = admission.cached(tenant, pipeline_id)
    if known is not None:
        return known
    state = _State(tenant, pipeline_id)
    return None if state.unready or isinstance(state.admission, CoordinatorError) else state.admission


def _pipelines(items: Iterable[_Item]) -> set[str]:
    return {item.request.pipeline_id for item in items}


def _shape(admission: Admission, request: ExecutionRequest) -> str | CoordinatorError:
    try:
        admission.require_expected(request.expected_release_version)
        return admission.input_shape(request.input, request.input_shape)
    except CoordinatorError as refusal:
        return refusal


def _executions(tenant: Tenant, items: Sequence[_Item]) -> dict[Key, Execution]:
    """Return the executions that have the keys of these items, with any input, without their payloads."""
    found: dict[Key, Execution] = {}
    for pipeline_id in _pipelines(items):
        keys = {item.request.idempotency_key for item in items if item.request.pipeline_id == pipeline_id}
        rows = Execution.objects.filter(tenant=tenant, pipeline_id=pipeline_id, execution_key__in=keys)
        for each in rows.defer("input", "progress", "result"):
            each.tenant = tenant
            found[pipeline_id, each.execution_key] = each
    return found


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


def _unstable(request: ExecutionRequest) -> CoordinatorError:
    return ActiveReleaseChanged(f"The active release of {request.pipeline_id!r} keeps changing; submit again.")


LONGEST_WAIT_SECONDS = 30


def submit_when_open(
    tenant: Tenant,
    request: ExecutionRequest,
    *,
    actor: str,
    token: str | None = None,
    wait_seconds: float,
    pause: Callable[[float], None] = time.sleep,
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
