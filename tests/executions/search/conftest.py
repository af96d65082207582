"""Executions that differ in what a search can ask for."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from executions.models import Execution
from releases.models import Pipeline
from tests import making
from tests.raw_sql import unguarded
from wire.messages.celery_messages import Failure

STEPS = making.steps("Validate", "Ship")
KEYS = ("ok", "failed", "dlq", "claimed", "running", "asks", "queued", "other")
"""In the order of their submission, an hour apart."""


@pytest.fixture(scope="module")
def rows(module_world: None) -> dict[str, Execution]:
    """The executions by their keys. `queued` is on release 2.0, and `other` in another pipeline."""
    owner, _ = making.ready(steps=STEPS)
    Pipeline.objects.update(retry_limit=0)
    made = {key: making.execution(owner, key) for key in KEYS[:6]}
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    ok, failed, dlq, asks = (claims[made[key].pk] for key in ("ok", "failed", "dlq", "asks"))
    at_the_second_step = Failure(failure_class="NO_FUNDS", message="why", retryable=False, step_index=1)
    outcomes = [making.outcome_of(ok), making.outcome_of(failed, "FAILED", failure=at_the_second_step)]
    making.record(*outcomes, making.failure(dlq, "TIMEOUT"), making.suspension(asks))
    making.worker(making.active(owner, "2.0", steps=STEPS), "worker-2")
    making.execution(owner, "queued")
    making.worker(making.active(owner, pipeline_id="org.example.other"), "worker-3")
    making.execution(owner, "other", pipeline_id="org.example.other")
    with unguarded(Execution):
        for number, key in enumerate(KEYS):
            row = Execution.objects.filter(execution_key=key)
            row.update(created_at=at(number), submitted_by="user:eva" if number < 2 else "token:app")
            row.filter(finished_at__isnull=False).update(finished_at=at(10 * number + 10))
        Execution.objects.filter(execution_key="running").update(running_since=timezone.now())
        Execution.objects.filter(execution_key="ok").update(tags=["k=v", "=x"])
    return {row.execution_key: row for row in Execution.objects.select_related("tenant")}


def at(hours: float) -> datetime:
    """Return a time after the registration of the releases."""
    return BEGIN + timedelta(hours=hours)


BEGIN = timezone.now() + timedelta(days=1)
