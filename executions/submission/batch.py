"""Decides the requests of one call together: checks each target once, and inserts what is admitted."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import BooleanField, CharField, Func, Value

from executions import metrics
from executions.errors import IdempotencyKeyReused, NotifyChannelUnknown
from executions.models import Execution
from executions.submission import admission, allowance, places, requests
from executions.submission.admission import Admission, Decision
from executions.submission.insertion import Row, commits
from executions.submission.requests import ExecutionRequest, Start, Submission, Verdict
from foundation.database.compiled import Compiled
from foundation.database.writes import after_commit
from foundation.errors import CoordinatorError, PayloadTooLarge
from foundation.telemetry import traces
from tenancy.access import require_scope, valid_token
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents import json_writer

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


class Item:
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


class Batch:
    """The requests of one call. Each target is checked once, and all admitted requests are inserted together."""

    def __init__(self, tenant: Tenant, items: list[Item], actor: str, token: str | None) -> None:
        self.items = items
        self._tenant = tenant
        self._actor = actor
        self._token = token

    @property
    def undecided(self) -> list[Item]:
        return [item for item in self.items if item.verdict is None]

    def find_channels(self) -> None:
        """Find the channels that requests name. Note the refusal of requests whose channel does not exist."""
        named = [(item, item.request.notify) for item in self.items if item.request.notify is not None]
        channels = _channels(self._tenant, {name for _, name in named})
        for item, name in named:
            item.channel = channels.get(name)
            if item.channel is None:
                item.refusal = _unknown_channel(name)

    def accept_cached(self) -> None:
        """Accept the items that cached admissions admit. Other items and repeated keys stay undecided."""
        admissions = {pipeline_id: admission.ready(self._tenant, pipeline_id) for pipeline_id in _pipelines(self.items)}
        keys = {item.key for item in self._large()}
        rows: list[tuple[Item, Row]] = []
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
        rows: dict[Key, tuple[Item, Row]] = {}
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

    def _large(self) -> list[Item]:
        """Return the undecided items whose input exceeds the tenant's quota."""
        limit = self._tenant.quota_payload_bytes
        return [] if limit is None else [item for item in self.undecided if item.size > limit]

    def _refuse_large(self) -> None:
        limit = self._tenant.quota_payload_bytes
        for item in self._large():
            detail = f"The input has {item.size:,} bytes, and the tenant's quota payloadBytes is {limit:,}."
            item.verdict = PayloadTooLarge(detail, limit=limit, quota="payloadBytes")

    def _admit(self, decision: Decision, item: Item) -> Row | CoordinatorError:
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

    def _row(self, admission: Admission, item: Item, shape: str) -> Row:
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
        if request.parent_id is not None:
            columns["parent"] = request.parent_id
        if traceparent := traces.current():
            columns["traceparent"] = traceparent
        return Row.of(admission, request.receipt, **columns)

    def _insert(self, rows: Sequence[tuple[Item, Row]], *, refuse: bool) -> None:
        """Insert the rows that the tenant's quotas permit. If `refuse`, reject the others."""
        if not rows:
            return
        with allowance.Admitted(self._tenant, len(rows)) as admitted:
            permitted = rows[: admitted.count]
            times, refused = _insert_rows([row for _, row in permitted]) if permitted else ([], {})
            admitted.inserted = len(times) - times.count(None)
        accepted: list[tuple[metrics.Pin, uuid.UUID]] = []
        counts: dict[metrics.Pin, int] = {}
        starting: list[tuple[Row, Start | None]] = []
        for (item, row), at in zip(permitted, times, strict=True):
            if at is not None:
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
            requests.announce([request for _, request in starting if request is not None])
            places.announce([row.id for row, _ in starting if row.concurrency_key])
        if refused and refuse:
            self._refuse(refused, permitted)
        for item, _ in rows[admitted.count :] if refuse else ():
            item.verdict = admitted.refusal

    def _refuse(self, refused: Mapping[uuid.UUID, CoordinatorError], rows: Sequence[tuple[Item, Row]]) -> None:
        """Reject the items of refused rows, unless another caller used their key meanwhile."""
        self._find_earlier()
        for item, row in rows:
            item.verdict = item.verdict or refused.get(row.id)


def _insert_rows(rows: Sequence[Row]) -> tuple[Sequence[datetime | None], Mapping[uuid.UUID, CoordinatorError]]:
    """Insert the rows. Return when each was inserted, or None if it was not, and the refusals by the ids of rows."""
    for row in rows:
        if row.separate:
            return places.insert(rows)
    return commits.commit(rows), {}


def _pipelines(items: Iterable[Item]) -> set[str]:
    return {item.request.pipeline_id for item in items}


def _shape(admission: Admission, request: ExecutionRequest) -> str | CoordinatorError:
    try:
        admission.require_expected(request.expected_release_version)
        return admission.input_shape(request.input, request.input_shape)
    except CoordinatorError as refusal:
        return refusal.with_traceback(None)


def _repeated(item: Item, first: Execution) -> Verdict:
    other = "input" if not item.request.key_alone and first.input_digest != item.digest else ""
    if item.request.release_version not in (None, first.release_version):
        other = "release"
    if not other:
        return Submission.repeated(first)
    return IdempotencyKeyReused(
        f"The key {first.execution_key!r} belongs to execution {first.pk}, which has another {other}.",
        executionId=str(first.pk),
    )


# Returns the names and the ids of the tenant's enabled channels with these names. They belong to `alerts`, which stands
# above: an execution only keeps the id.
CHANNELS = """
SELECT c.name, c.id FROM alerts_alertchannel c
WHERE c.tenant_id = %(tenant)s AND c.name = ANY(%(names)s) AND c.enabled AND c.removed_at IS NULL
"""


def _channels(tenant: Tenant, names: Collection[str]) -> dict[str, uuid.UUID]:
    """Return the ids of the tenant's enabled channels by these names. A name without one is missing."""
    with connection.cursor() as cursor:
        cursor.execute(CHANNELS, {"tenant": tenant.pk, "names": [*names]})
        return dict(cursor.fetchall())


def _unknown_channel(name: str) -> NotifyChannelUnknown:
    detail = f"notify: there is no enabled channel {name!r}. GET …/alert-channels lists them."
    error = {"field": "notify", "code": "INVALID", "message": "must be the name of an enabled channel"}
    return NotifyChannelUnknown(detail, errors=[error])
