from collections.abc import Callable
from datetime import timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from executions.awaits import awaits, interactions
from executions.errors import AwaitTimedOut, InteractionClosed
from executions.lifecycle import dispatch, interventions
from executions.models import AwaitUnit, DeadLetter, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, assert_timed_out, interaction_of, itemized, make_late, suspended
from tests.executions.moments import now, set_deadline, statuses
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]


def test_a_suspension_parks_the_execution_and_opens_its_interaction(ready: Ready) -> None:
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
    ({"transport": "carrier-pigeon"}, "carrier-pigeon"),
    ({"requests": ['{"n": 1}', '{"n": 2}']}, "makes 2 requests, but only one"),
    ({"transport": "webhook", "transport_metadata": {"url": "ftp://example.org/"}}, "no http or https URL"),
    ({"timeout_seconds": 1e12}, "hundred years"),
    ({"output_type": "x" * 501}, "more than 500"),
    ({"assignee": "e\x00va"}, "must be printable"),
    ({"step_id": "\x00"}, ""),
    ({"step_index": 2**70}, ""),
    ({"transport_metadata": {"url": "\x00"}}, "contains a NUL character"),
)
def test_an_unanswerable_suspension_fails_at_once(ready: Ready, members: dict[str, Any], message: str) -> None:
    made = suspended(ready, **members)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert message in str(made.error_message)
    assert not AwaitUnit.objects.filter(execution=made).exists()
    assert DeadLetter.objects.get(execution=made).reason == "non_retryable"


def test_an_expired_deadline_fails_the_execution_and_a_redrive_asks_again(ready: Ready) -> None:
    made, other = suspended(ready, "late", request='{"n": 7}'), suspended(ready, "in time")
    make_late(interaction_of(made))
    assert awaits.expire() == 1
    assert_timed_out(made, interaction_of(made))
    other.refresh_from_db()
    assert other.status == "WAITING_EXTERNAL"
    assert awaits.expire() == 0
    interventions.redrive(ready[0], made.pk, actor="user:op", reason="again", allow_failed=True)
    [claim] = making.claimed(ready[0])
    assert (claim.step_index, claim.input) == (0, '{"n": 7}')
    making.record(making.suspension(claim, request='{"n": 7}'))
    answer(Interaction.objects.get(execution=made, status="DISPATCHED"))
    made.refresh_from_db()
    assert made.status == "QUEUED"


def by_token(one: Interaction) -> None:
    token = awaits.resume_token_of(one, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    interactions.resume(token, response={"n": 1}, actor="")


@cases("give", [answer, by_token])
def test_a_late_answer_fails_the_execution_too(ready: Ready, give: Callable[[Interaction], object]) -> None:
    made = suspended(ready)
    set_deadline(interaction_of(made), now())
    for _ in range(2):
        with pytest.raises(AwaitTimedOut):
            give(interaction_of(made))
        assert_timed_out(made, interaction_of(made))


def test_one_late_item_fails_the_unit_and_withdraws_the_others(ready: Ready) -> None:
    made, items = itemized(ready, 4)
    answer(items[0])
    with unguarded(Interaction):
        make_late(*items[:3])
        run("UPDATE executions_interaction SET deadline = deadline - interval '1 s' WHERE id = %s", items[1].pk)
    awaits.expire()
    assert_timed_out(made, items[1])
    assert statuses(made) == ["COMPLETED", "TIMED_OUT", "TIMED_OUT", "CANCELLED"]
    with pytest.raises(InteractionClosed) as caught:
        answer(items[3])
    assert caught.value.data == {"interactionStatus": "CANCELLED"}


def test_an_expired_timer_resumes_the_execution_with_its_request(ready: Ready) -> None:
    made = suspended(ready, request='{"n": 3}', transport="timer", timeout_seconds=3600)
    one = interaction_of(made)
    assert one.status == "WAITING"
    assert awaits.expire() == 0
    for _ in range(2):
        with pytest.raises(InteractionClosed):
            answer(one)
        make_late(one)
    assert awaits.expire() == 1
    made.refresh_from_db()
    one.refresh_from_db()
    assert (one.status, one.response, one.actor) == ("COMPLETED", {"n": 3}, "timer")
    assert (made.status, made.current_step_index, made.progress) == ("QUEUED", 1, {"n": 3})
    assert making.history(made)[-1] == ("AWAIT_COMPLETED", "QUEUED")
