"""Which webhooks are due, in which order they are sent, and the places that sending takes."""

import pytest

from executions.awaits import awaits, webhooks
from executions.models import Execution
from foundation.scheduling import places
from tests import making
from tests.executions.awaits.parking import answer, interaction_of, make_late
from tests.executions.awaits.webhook_attempts import Ready, sent_to
from tests.few_places import limited
from tests.raw_sql import run
from tests.receiving import Receiver

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_receivers")]


def test_a_webhook_is_not_sent_after_its_answer_or_its_deadline(ready: Ready, receiver: Receiver) -> None:
    late = sent_to(ready, receiver.url(), "late")
    answer(interaction_of(sent_to(ready, receiver.url(), "answered")))
    make_late(interaction_of(late))
    assert not webhooks.due_exists()
    assert not webhooks.send()
    assert not receiver.requests
    awaits.expire()
    assert Execution.objects.get(pk=late.pk).error_code == "AWAIT_TIMEOUT"
    assert (interaction_of(late).status, interaction_of(late).next_dispatch_at) == ("TIMED_OUT", None)


def test_the_webhook_that_has_been_due_longest_is_sent_first(ready: Ready, receiver: Receiver) -> None:
    ages = {"a": 2, "b": 3, "c": 1}
    made = {key: sent_to(ready, receiver.url(), key) for key in ages}
    change = "UPDATE executions_interaction SET next_dispatch_at = now() - make_interval(mins => %s)"
    for key, age in ages.items():
        run(f"{change} WHERE execution_id = %s", age, made[key].pk)
    while webhooks.send():
        pass
    assert [request.json["executionId"] for request in receiver.requests] == [str(made[key].pk) for key in "bac"]


def test_a_tenant_whose_receivers_hang_leaves_a_place_for_other_tenants(ready: Ready, receiver: Receiver) -> None:
    mine, other = sent_to(ready, receiver.url()), sent_to(making.ready(), receiver.url())
    with limited(places.WEBHOOKS, 2), places.WEBHOOKS.hold(ready[0].pk):
        assert webhooks.send()
        assert not webhooks.send()
        assert (interaction_of(mine).status, interaction_of(other).status) == ("WAITING", "DISPATCHED")
    assert webhooks.send()
    assert interaction_of(mine).status == "DISPATCHED"
