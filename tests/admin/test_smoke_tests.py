"""The pages of smoke tests."""

import re

from django.urls import reverse

from executions.lifecycle import outcome
from executions.models import Execution, SmokeTest
from releases.activation.revocation import revoke
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from wire.messages.celery_messages import OutcomeGroup

KEY = {"idempotency_key": "page"}


def address(world: World) -> str:
    return reverse("admin:executions_smoketest_new", args=[world.release.pk])


def page_of_release(log_in: LogIn, world: World, who: str = "release-manager") -> str:
    page = log_in(who).get(reverse("admin:releases_release_change", args=[world.release.pk]))
    return str(page.content.decode())


def test_the_form_starts_a_smoke_test_once(log_in: LogIn, acme: World) -> None:
    client = log_in("release-manager")
    assert 'name="idempotency_key"' in client.get(address(acme)).content.decode()
    fields = {**KEY, "input": '{"n": 1}', "expected_result": '{"n": 2}'}
    for _ in range(2):
        answer = client.post(address(acme), fields)
        test = SmokeTest.objects.get()
        assert answer.headers["Location"] == reverse("admin:executions_execution_change", args=[test.execution_id])
    assert (test.expected_result, test.actor) == ([{"n": 2}], "user:release-manager")
    assert Execution.objects.get(pk=test.execution_id).input == {"n": 1}


def has_badge(page: str, text: str) -> bool:
    return re.search(rf">\s*{text}\s*<", page) is not None


def test_the_page_of_the_release_shows_the_verdicts(log_in: LogIn, acme: World) -> None:
    assert "No input was run on this release as a smoke test." in page_of_release(log_in, acme)
    making.claimed(acme.tenant)
    log_in("release-manager").post(address(acme), {**KEY, "input": "1", "expected_result": ""})
    assert has_badge(page_of_release(log_in, acme), "running")
    [claim] = making.claimed(acme.tenant)
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    assert outcome.record(acme.release.identity, group) == 1
    shown = page_of_release(log_in, acme)
    assert has_badge(shown, "passed")
    assert "Run a smoke test" in shown
    assert "These roles may: release manager, tenant admin." in page_of_release(log_in, acme, "viewer")
    listed = log_in("viewer").get(reverse("admin:executions_smoketest_changelist")).content.decode()
    assert str(claim.execution_id) in listed
    assert has_badge(listed, "passed")
    row = log_in("viewer").get(reverse("admin:executions_smoketest_change", args=[claim.execution_id]))
    assert row.headers["Location"] == reverse("admin:executions_execution_change", args=[claim.execution_id])


@cases(
    ("fields", "status", "message"),
    [
        ({"input": "{"}, 400, "DOCUMENT_NOT_JSON"),
        ({"input": "1 2"}, 400, ""),
        ({"input": "1", "expected_result": "{"}, 400, ""),
        ({"input": ""}, 400, "This field is required."),
    ],
)
def test_what_is_wrong_is_shown_and_what_was_typed_stays(
    log_in: LogIn, acme: World, fields: dict[str, str], status: int, message: str
) -> None:
    answer = log_in("release-manager").post(address(acme), {**KEY, **fields})
    assert answer.status_code == status
    assert message in answer.content.decode()
    assert SmokeTest.objects.count() == 0


def test_a_revoked_release_offers_no_form(log_in: LogIn, acme: World) -> None:
    revoke(acme.release, actor="user:test", reason="leaked")
    answer = log_in("release-manager").get(address(acme))
    assert answer.status_code == 409
    assert "The release is REVOKED." in answer.content.decode()
    assert log_in("release-manager").post(address(acme), {**KEY, "input": "1"}).status_code == 409
    assert "Run a smoke test" not in page_of_release(log_in, acme)
