"""Suspensions: an execution is parked and its interactions are opened, in one transaction."""

from datetime import timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from executions.lifecycle import dispatch
from executions.models import AwaitUnit, DeadLetter
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import interaction_of, suspended

pytestmark = pytest.mark.django_db


def test_a_suspension_parks_the_execution_and_opens_its_interaction(ready: tuple[Tenant, Release]) -> None:
    before = timezone.now()
    made = suspended(ready, request='{"n": 7}', assignee="eva", group="finance", timeout_seconds=90)
    one = interaction_of(made)

    assert (made.status, made.current_step_index, made.version) == ("WAITING_EXTERNAL", 0, 2)
    assert (made.progress, made.progress_shape, made.await_unit_id) == ({"n": 7}, "UNI", one.unit_id)
    assert (one.unit.status, one.unit.expected_items, one.unit.itemized) == ("WAITING_EXTERNAL", 1, False)
    assert (one.status, one.request, one.item_index) == ("DISPATCHED", {"n": 7}, None)
    assert (one.assignee, one.group) == ("eva", "finance")
    name = f"{ready[0].slug}:{made.pk}:Approve:{one.unit_id}".encode()
    assert UUID(one.correlation_id) == UUID(bytes=md5(name).digest(), version=3)
    assert before + timedelta(seconds=80) < one.deadline < timezone.now() + timedelta(seconds=90)
    assert making.history(made)[-1] == ("AWAITING", "WAITING_EXTERNAL")
    assert dispatch.dispatch() == 0


@cases(
    ("members", "message"),
    [
        ({"transport": "carrier-pigeon"}, "carrier-pigeon"),
        ({"requests": ['{"n": 1}', '{"n": 2}']}, "makes 2 requests, but only one"),
        ({"transport": "webhook", "transport_metadata": {"url": "ftp://example.org/"}}, "no http or https URL"),
        ({"timeout_seconds": 1e12}, "hundred years"),
        ({"output_type": "x" * 501}, "more than 500"),
        ({"assignee": "e\x00va"}, "must be printable"),
        ({"transport_metadata": {"url": "\x00"}}, "contains a NUL character"),
    ],
)
def test_a_suspension_that_cannot_be_answered_fails_at_once(
    ready: tuple[Tenant, Release], members: dict[str, Any], message: str
) -> None:
    made = suspended(ready, **members)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert message in str(made.error_message)
    assert not AwaitUnit.objects.filter(execution=made).exists()
    assert DeadLetter.objects.get(execution=made).reason == "non_retryable"
