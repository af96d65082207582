"""The pages of smoke tests."""

from django.test import Client

from executions.lifecycle import outcome
from executions.models import Execution, SmokeTest
from tests import making
from tests.admin.browsing import to, words
from tests.admin.conftest import LogIn, World
from wire.messages.celery_messages import OutcomeGroup

KEY = {"idempotency_key": "page"}


def address(world: World) -> str:
    return to("executions_smoketest_new", world.release)


def page(client: Client, world: World) -> str:
    return words(client.get(to("releases_release_change", world.release)))


def test_the_form_starts_a_smoke_test_once_and_the_pages_show_its_verdict(
    log_in: LogIn, manager: Client, acme: World
) -> None:
    making.claimed(acme.tenant)
    fields = {**KEY, "input": '{"n": 1}', "expected_result": '{"n": 1}'}
    for _ in range(2):
        answer = manager.post(address(acme), fields)
        test = SmokeTest.objects.get()
        shown = to("executions_execution_change", test.execution_id)
        assert answer.headers["Location"] == shown
    assert (test.expected_result, test.actor) == ([{"n": 1}], "user:release-manager")
    assert Execution.objects.get(pk=test.execution_id).input == {"n": 1}
    [claim] = making.claimed(acme.tenant)
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    assert outcome.record(acme.release.identity, group) == 1
    assert " passed " in page(manager, acme)
    assert str(claim.execution_id) in log_in("viewer").get(to("executions_smoketest_changelist")).text
