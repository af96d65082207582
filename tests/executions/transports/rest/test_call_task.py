"""A message for a REST worker's call is processed once, and only for executions that a REST worker holds."""

import pytest
from django.utils import timezone

from executions.lifecycle import rest_calls
from executions.models import Execution
from executions.transports.rest import calls, transport
from foundation.scheduling import places
from tests import making
from tests.cases import cases
from tests.deaths import each_death
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow
from tests.few_places import limited


def test_a_redelivered_message_makes_no_second_call(flow: Flow) -> None:
    """The first receiver dies when it has the worker's response. The lease lasts for an entire call."""
    made = making.execution(flow.owner, "k", ORDER, PIPELINE)
    [claim] = making.claimed(flow.owner, lease_seconds=1)
    assert transport.send([claim]) == []
    next(each_death(lambda: rest_calls.run(made.pk, claim.lease_token), text="json_to_recordset"))
    assert len(flow.double.commands) == 1
    made.refresh_from_db()
    assert (made.status, made.lease_token == claim.lease_token) == ("RUNNING", False)
    assert made.running_since is not None
    assert made.lease_expires_at is not None
    left = (made.lease_expires_at - timezone.now()).total_seconds()
    assert calls.lease_seconds() - 5 < left <= calls.lease_seconds()
    assert not rest_calls.run(made.pk, claim.lease_token)
    assert len(flow.double.commands) == 1


@pytest.mark.django_db
@cases("free", [0, 1])
def test_a_message_for_an_execution_of_a_celery_worker_is_ignored(free: int) -> None:
    """Its lease is not renewed while the message waits for a free place."""
    owner, _ = making.ready()
    made = making.execution(owner)
    [claim] = making.claimed(owner)
    before = Execution.objects.filter(pk=made.pk).values().get()
    with limited(places.CALLS, free):
        assert not rest_calls.run(made.pk, claim.lease_token)
    assert Execution.objects.filter(pk=made.pk).values().get() == before
