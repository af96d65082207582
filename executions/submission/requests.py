"""A request to run a pipeline once, when the execution starts, and the result of the request."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from django.utils import timezone

from executions.models import AdmissionReceipt, Execution
from executions.models.states import NORMAL, PRIORITIES
from executions.submission.insertion import Row
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.broker_gate import gate
from foundation.errors import CoordinatorError, InvalidRequest

PROMOTE_TASK: Final = "executions.promote_low"
MOST_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Start:
    """When an execution starts. `priority` is that of `Execution`; its None is normal."""

    not_before: datetime | None = None
    expires_at: datetime | None = None
    priority: int | None = None

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self | None:
        """Return the start that the valid members of a submission name; None if they name none."""
        values = members.get("notBefore"), members.get("expiresAt"), PRIORITIES[members.get("priority") or NORMAL]
        return None if values == (None, None, None) else cls(*values)

    def refusal(self) -> InvalidRequest | None:
        """Return why no execution can start so now; None if one can."""
        now = timezone.now()
        if self.not_before is not None and self.not_before > now + timedelta(days=MOST_DAYS):
            return _invalid("notBefore", f"must be within {MOST_DAYS} days")
        if self.expires_at is not None and self.expires_at <= max(now, self.not_before or now):
            return _invalid("expiresAt", "must be in the future and later than notBefore")
        return None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the new row that are not null."""
        columns = {"not_before": self.not_before, "expires": self.expires_at, "priority": self.priority}
        return {name: value for name, value in columns.items() if value is not None}


def announce(starts: Collection[Start]) -> None:
    """Send the wake-ups for new executions with these starts. The sweep finds those for which none is sent."""
    if any(start.priority == PRIORITIES["low"] for start in starts):
        wakeup.send_once(PROMOTE_TASK)
    if times := [start.not_before for start in starts if start.not_before is not None]:
        wakeup.send_once(DISPATCH_TASK, delay=max(min(times) - timezone.now(), timedelta()))


def _invalid(field: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {rule}", errors=[{"field": field, "code": "INVALID", "message": rule}])


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """A request to run a pipeline once, with the caller's idempotency key.

    `release_version` names the release to run instead of the active one, if it is still open: see `admission.named`.

    `input_shape` is UNI or MULTI; if it is None, the contract's first step determines it. `wire_input` is the input in
    its original payloads, to be stored with the execution. With `key_alone` a repeated key returns its first execution
    for any input. `tags`, and `routing_key` or else the idempotency key, decide whether a
    candidate gets the execution. With `expected_release_version`, only the active release does. `receipt` is written
    with a new execution, in the same transaction. `notify` is the name of a channel that gets a message at its end.
    `start` says when the execution starts; None for at once. `parent_id` is the execution that calls it as a child.
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
    parent_id: uuid.UUID | None = None


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
