"""Releases that limit how many executions are in progress."""

from datetime import timedelta
from typing import Any

from executions.models import Execution, Worker
from executions.submission import places
from governance.activation.activation import activate
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import unguarded
from wire.messages.celery_messages import Failure, Outcome, transition_key


def limited(owner: Tenant, version: str = "1.0", **concurrency: Any) -> Release:
    """Return an active release of `owner` that declares `concurrency`, with a worker."""
    made = making.declaring(owner, version, concurrency=concurrency)
    Worker.objects.filter(tenant=owner).update(capacity=100)
    activate(made, actor="user:test")
    return Release.objects.select_related("pipeline__tenant").get(pk=made.pk)


def submitted(owner: Tenant, *keys: str, customer: str = "c-1", **members: Any) -> list[Execution]:
    """Submit an execution for each key, and decide about its place."""
    made = [making.submitted(owner, key, {"customer": customer}, **members).execution for key in keys]
    places.grant([execution.pk for execution in made])
    return made


def claimed_keys(owner: Tenant, most: int = 100) -> list[str]:
    """Claim what is due, and return the idempotency keys in their order."""
    claims = making.claimed(owner, limit=most)
    keys = dict(Execution.objects.filter(tenant=owner).values_list("pk", "execution_key"))
    return [keys[claim.execution_id] for claim in claims]


def end(*keys: str, code: str = "") -> None:
    """End RUNNING executions, successfully or with the failure `code`, and decide about their places."""
    for execution in Execution.objects.filter(execution_key__in=keys):
        key = transition_key(execution.pk, execution.current_step_index, execution.attempt)
        members: dict[str, Any] = {"execution_id": execution.pk, "execution_version": execution.version}
        members |= {"lease_token": execution.lease_token, "transition_key": key, "output_payloads": ["1"]}
        if code:
            members["failure"] = Failure(failure_class=code, message="why", retryable=False, traceback="")
        assert making.record(Outcome(outcome="FAILED" if code else "COMPLETED", **members)) == 1
        places.grant([execution.pk])


def earlier(by: timedelta, *keys: str) -> None:
    """Move the starts of executions, and the times before which they do not start, into the past."""
    with unguarded(Execution):
        for row in Execution.objects.filter(execution_key__in=keys):
            started_at = row.started_at and row.started_at - by
            due = row.next_due_at - by
            Execution.objects.filter(pk=row.pk).update(started_at=started_at, next_due_at=due)
