"""If a control process dies while it sends, no execution fails without a dead letter, and unsent work is due again."""

from typing import Any

import pytest

from executions.awaits import webhooks
from executions.lifecycle import dispatch
from executions.models import DeadLetter, Execution
from tenancy.models import Tenant
from tests import making
from tests.deaths import each_death
from tests.executions.awaits.parking import suspended
from tests.raw_sql import run
from wire.messages.sealing import MOST_SEALS
from wire.messages.task_messages import LONGEST_MESSAGE

pytestmark = pytest.mark.django_db


def failed(owner: Tenant) -> list[Execution]:
    """Return the tenant's failed executions, after checking that these, and only these, have a dead letter each."""
    found = list(Execution.objects.filter(tenant=owner, status__in=["FAILED", "DLQ"]))
    letters = DeadLetter.objects.filter(tenant=owner).values_list("execution_id", flat=True)
    assert sorted(letters) == sorted(each.pk for each in found)
    return found


def test_a_command_that_is_too_large_fails_with_its_dead_letter(settings: Any) -> None:
    settings.WORKER_SECRET_FALLBACKS = [f"a secret of before {number}" for number in range(MOST_SEALS - 1)]
    owner, _ = making.ready()
    made = making.execution(owner, value={"text": "x" * (LONGEST_MESSAGE * 3 // 4 // MOST_SEALS)})
    next(each_death(dispatch.dispatch, text="executions_deadletter"))
    assert failed(owner) == []
    assert making.history(made)[-1] == ("CLAIMED", "RUNNING")


def test_an_undeliverable_webhook_fails_its_execution_with_a_dead_letter(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    settings.WEBHOOK_ATTEMPTS = 100
    owner, release = making.ready()
    url = {"url": "http://127.0.0.1/hook"}
    two: dict[str, Any] = {"requests": ["{}", "{}"], "itemized": True, "gives_many": True}
    made = suspended((owner, release), transport="webhook", transport_metadata=url, **two)
    first = made.interactions.get(item_index=0)

    def act() -> None:
        run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE id = %s AND status <> 'FAILED'", first.pk)
        webhooks.send()

    for statement in each_death(act):
        assert failed(owner) == [], statement
        assert {each.status for each in made.interactions.all()} <= {"WAITING", "DISPATCHING"}
        assert made.await_units.get().status == "WAITING_EXTERNAL"
    assert failed(owner) == [made]
    assert sorted(each.status for each in made.interactions.all()) == ["CANCELLED", "FAILED"]
    assert made.await_units.get().status == "FAILED"
