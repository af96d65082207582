"""The form that resubmits an execution, and the links between the pages of both executions."""

from typing import Any

from django.urls import reverse

from executions.campaigns import campaigns
from executions.models import Campaign, Execution, Resubmission
from releases.activation.activation import activate
from releases.models import Release
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.executions.campaigns.campaigning import pass_time
from tests.executions.submission import continuing

HOSTILE = "</textarea><script>alert('x')</script>"


def of(name: str, row: Any) -> str:
    return reverse(f"admin:executions_{name}", args=[row.pk])


def release(world: World, version: str = "1.1") -> Release:
    made = making.registered(world.tenant, version, pipeline_id=operator_rows.pipeline_of(world))
    found = Release.objects.select_related("pipeline__tenant").get(pk=made.pk)
    making.worker(found, f"worker-{version}")
    return found


def sent(execution: Execution, **changes: str) -> dict[str, str]:
    fields = {"release": "", "input": "", "reason": "fixed", "operation_key": "k"}
    return {**fields, "expected_version": str(execution.version), **changes}


def test_an_execution_is_resubmitted_with_the_form_and_both_pages_link_each_other(log_in: LogIn, acme: World) -> None:
    [dead] = operator_rows.dead(acme, "k", code="NO_FUNDS")
    release(acme)
    client = log_in("operator")
    assert of("execution_resubmit", dead) in client.get(of("execution_change", dead)).text
    form = client.get(of("execution_resubmit", dead)).text
    for text in ("1.0 (active)", '<option value="1.1">1.1</option>', "&quot;n&quot;: 1", "NO_FUNDS"):
        assert text in form
    answer = client.post(of("execution_resubmit", dead), sent(dead, release="1.1", input='{"n": 2}'), follow=True)
    new = Execution.objects.get(origin__execution=dead)
    assert answer.redirect_chain == [(of("execution_change", new), 302)]
    assert "The execution is queued on release 1.1." in answer.text
    assert of("execution_change", dead) in answer.text
    assert "with another input" in answer.text
    assert (new.input, new.release_version, new.submitted_by) == ({"n": 2}, "1.1", "user:operator")
    old = client.get(of("execution_change", dead)).text
    assert of("execution_change", new) in old
    assert "data-resubmissions" in old


def test_an_unchanged_form_keeps_the_input_and_uses_the_active_release(log_in: LogIn, acme: World) -> None:
    [dead] = operator_rows.dead(acme, "k")
    activate(release(acme), actor="user:ann")
    client = log_in("operator")
    client.post(of("execution_resubmit", dead), sent(dead, input='{\n  "n": 1\n}'))
    link = Resubmission.objects.select_related("new_execution").get()
    assert (link.edited, link.new_execution.release_version, link.reason) == (False, "1.1", "fixed")


def test_a_form_that_is_sent_twice_creates_one_execution(log_in: LogIn, acme: World) -> None:
    [dead] = operator_rows.dead(acme, "k")
    client = log_in("operator")
    pages = {client.post(of("execution_resubmit", dead), sent(dead)).headers["Location"] for _ in range(2)}
    assert len(pages) == Resubmission.objects.count() == 1


def test_the_form_continues_from_the_checkpoint(log_in: LogIn, acme: World) -> None:
    pipeline = operator_rows.pipeline_of(acme)
    activate(continuing.release(acme.tenant, "1.1", pipeline_id=pipeline), actor="user:ann")
    old = continuing.failed(acme.tenant, "continued", pipeline_id=pipeline)
    continuing.release(acme.tenant, "1.2", types=continuing.order("n", "m"), pipeline_id=pipeline)
    client = log_in("operator")
    chosen = {"start_from": "checkpoint"}
    refused = client.post(of("execution_resubmit", old), sent(old, **chosen, release="1.2"))
    assert refused.status_code == 409
    assert "CHECKPOINT_INCOMPATIBLE" in refused.text
    assert "checkpoint.m" in refused.text
    assert not Resubmission.objects.exists()
    page = client.post(of("execution_resubmit", old), sent(old, **chosen), follow=True).text
    assert "from its checkpoint before step 2" in page
    assert Execution.objects.get(origin__execution=old).current_step_index == 1
    assert "<td>step 2</td>" in client.get(of("execution_change", old)).text


@cases(
    ("changes", "status", "text"),
    [
        ({"input": "{"}, 400, "input"),
        ({"input": '1, "x": 2'}, 400, "must be one JSON value"),
        ({"release": "9.9"}, 400, "9.9 is not one of the available choices"),
        ({"start_from": "result"}, 400, "result is not one of the available choices"),
        ({"start_from": "checkpoint"}, 409, "CHECKPOINT_MISSING"),
        ({"expected_version": "1"}, 409, "has version 2, not 1"),
        ({"reason": "x" * 1001}, 400, "at most 1000 characters"),
    ],
)
def test_a_rejected_form_shows_why_and_keeps_what_was_typed(
    log_in: LogIn, acme: World, changes: dict[str, str], status: int, text: str
) -> None:
    [dead] = operator_rows.dead(acme, "k")
    answer = log_in("operator").post(of("execution_resubmit", dead), sent(dead, **{"reason": HOSTILE, **changes}))
    assert answer.status_code == status
    assert text in answer.text
    assert "<script>alert(" not in answer.text
    assert not Resubmission.objects.exists()


def test_an_open_execution_has_no_form(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    assert of("execution_resubmit", acme.execution) not in client.get(of("execution_change", acme.execution)).text
    answer = client.get(of("execution_resubmit", acme.execution))
    assert answer.status_code == 409
    assert "It must end before it can be resubmitted." in answer.text
    assert "resubmit-form" not in answer.text


def test_a_campaign_that_resubmits_is_started_from_a_failure(log_in: LogIn, acme: World) -> None:
    [dead] = operator_rows.dead(acme, "k", code="NO_FUNDS")
    release(acme)
    client = log_in("operator")
    letter = client.get(of("deadletter_change", operator_rows.letter(dead))).text
    assert "kind=resubmit" in letter
    filters = {"tenant": acme.tenant.slug, "error_code": "NO_FUNDS", "kind": "resubmit"}
    address = reverse("admin:executions_campaign_start")
    assert "Target release version" not in client.post(address, {**filters, "kind": "redrive"}, follow=True).text
    preview = client.post(address, filters, follow=True).text
    assert "Target release version" in preview
    assert "with the checkpoint" in preview
    draft = Campaign.objects.get(kind="resubmit")
    started = {"why": "fixed", "rate_per_minute": "60", "target_release_version": "1.1"}
    page = client.post(of("campaign_begin", draft), started, follow=True).text
    assert "Resubmits at most 60 a minute" in page
    pass_time(60)
    assert campaigns.advance() == 1
    campaign = Campaign.objects.get(kind="resubmit")
    done = client.get(of("campaign_change", campaign)).text
    new = Execution.objects.get(origin__campaign=campaign)
    assert of("execution_change", new) in done
    assert "RESUBMITTED" in done
    assert of("campaign_change", campaign) in client.get(of("execution_change", new)).text
