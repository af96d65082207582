"""The pages of requests to activate a release: how they are made, voted on and withdrawn, and overrides."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from releases.activation import policy
from releases.activation.requests.requests import ask
from releases.models import Activation, ActivationRequest, Release
from tenancy.roles import Role
from tests import making
from tests.admin.conftest import LogIn, World, person
from tests.requesting import soon, voted


@pytest.fixture
def newer(acme: World) -> Release:
    """A registered release whose activation needs one approval."""
    release = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    policy.change(release.pipeline, {"approvals": 1}, actor="user:admin")
    person("second", acme.tenant, Role.RELEASE_MANAGER)
    return release


def page_of(release: Release) -> str:
    return reverse("admin:releases_release_activate", args=[release.pk])


def asking(client: Client, release: Release, **more: str) -> Any:
    """Send the form "Request the activation" of the release's page."""
    context = client.get(page_of(release)).context
    form = {"expected_release_version": context["active"].release_version, "operation_key": context["operation_key"]}
    address = reverse("admin:releases_release_request", args=[release.pk])
    return client.post(address, {**form, "reason": "faster", **more}, follow=True)


def send(client: Client, act: str, **fields: Any) -> Any:
    made = ActivationRequest.objects.get()
    return client.post(reverse(f"admin:releases_activationrequest_{act}", args=[made.pk]), fields, follow=True)


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def history(release: Release) -> str:
    """Return the table of the activations on the page of the pipeline."""
    client = Client()
    client.force_login(User.objects.get(username="viewer"))
    text = client.get(reverse("admin:releases_pipeline_change", args=[release.pipeline_id])).text
    return text.partition("data-history>")[2].partition("</table>")[0]


def test_a_request_is_approved_by_another_person(log_in: LogIn, newer: Release) -> None:
    client = log_in("release-manager")
    page = client.get(page_of(newer))
    assert [gate.name for gate in page.context["refusing"]] == ["approval"]
    assert 'disabled aria-describedby="refusing"' in page.text
    assert 'id="reason"' not in page.text  # the form that requests the activation asks for the reason
    assert "data-undecided" not in page.text
    answer = asking(client, newer)
    assert said(answer) == ["The request waits for 1 approval by other people."]
    again = log_in("second").get(page_of(newer)).text.partition("data-undecided")[2]
    assert answer.request["PATH_INFO"] in again
    assert "data-own" in answer.text
    assert "data-vote>" not in answer.text
    own = said(send(client, "vote", decision="approve", round="1"))
    assert own[0].startswith("OWN_REQUEST")
    second = log_in("second")
    assert "data-vote>" in second.get(answer.request["PATH_INFO"]).text
    counted = send(second, "vote", decision="approve", round="1", comment="looks <good>")
    assert said(counted) == ["The vote counts. The request is ACTIVATED."]
    assert "looks &lt;good&gt;" in counted.text
    table = history(newer)
    assert "approved by user:second: “looks &lt;good&gt;”" in table
    assert "requested" in table
    assert Activation.objects.latest("id").release == newer


def test_a_refusal_and_a_withdrawal_end_a_request(log_in: LogIn, acme: World, newer: Release) -> None:
    asking(log_in("release-manager"), newer)
    wrong = said(send(log_in("second"), "vote", decision="perhaps", round="1"))
    assert wrong[0].startswith("Choose a decision")
    answer = send(log_in("second"), "vote", decision="refuse", round="1", comment="no")
    assert said(answer) == ["The vote counts. The request is REFUSED."]
    late = said(send(log_in("tenant-admin"), "withdraw", reason="late"))
    assert late[0].startswith("REQUEST_NOT_OPEN")
    assert not Activation.objects.filter(release=newer).exists()


def test_the_page_says_what_moved(log_in: LogIn, newer: Release) -> None:
    asking(log_in("release-manager"), newer)
    policy.change(newer.pipeline, {"retryLimit": 3}, actor="user:admin")
    answer = send(log_in("second"), "vote", decision="approve", round="1")
    [found] = said(answer)
    assert found.startswith("REQUEST_RESTARTED")
    assert "data-moved" in answer.text
    assert "retryLimit: was none, is now 3" in answer.text
    assert said(send(log_in("second"), "vote", decision="approve", round="2"))[0].startswith("The vote counts")


def test_a_time_makes_a_schedule_which_can_be_withdrawn(log_in: LogIn, newer: Release) -> None:
    policy.change(newer.pipeline, {"approvals": 0}, actor="user:admin")
    client = log_in("release-manager")
    wrong = said(asking(client, newer, activate_at="tomorrow"))
    assert wrong == ["Time: must be a time such as 2026-01-31 14:00. Nothing changed."]
    past = said(asking(client, newer, activate_at="2001-01-01T00:00:00Z"))
    assert past[0].startswith("ACTIVATION_TIME_INVALID")
    answer = asking(client, newer, activate_at=soon().isoformat())
    assert said(answer)[0].startswith("The request is approved. Release 2.0 will be activated at 2")
    lines = client.get(reverse("admin:releases_release_change", args=[newer.pk])).text
    assert "Approved requests to activate it" in lines
    assert said(send(client, "withdraw", reason=" "))[0].startswith("REASON_REQUIRED")
    assert said(send(client, "withdraw", reason="wrong")) == ["The request is withdrawn."]
    assert ActivationRequest.objects.get().ended_by == "user:release-manager"


def test_a_blocker_links_exactly_its_requests(log_in: LogIn, acme: World, newer: Release) -> None:
    client = log_in("release-manager")
    requester = User.objects.get(username="second")
    made = ask(newer, requester=requester, actor="user:second", reason="x")
    ask(acme.release, requester=requester, actor="user:second", reason="x")
    address = reverse("admin:releases_activationrequest_changelist")
    link = f"{address}?release={newer.pk}&amp;status=OPEN"
    assert link in client.get(reverse("admin:releases_release_change", args=[newer.pk])).text
    listed = client.get(address, {"release": str(newer.pk), "status": "OPEN"}).context["cl"].result_list
    assert [each.pk for each in listed] == [made.pk]
    pipeline = client.get(address, {"pipeline": newer.pipeline_id}).context["cl"].result_list
    assert len(pipeline) == 2
    for odd in ("x", "9" * 30):
        assert not client.get(f"{address}?release={odd}").context["cl"].result_list


def test_an_override_is_for_tenant_admins_and_shown_in_red(log_in: LogIn, acme: World, newer: Release) -> None:
    admin, manager = log_in("tenant-admin"), log_in("release-manager")
    form = {
        "expected_release_version": "1.0",
        "operation_key": "k",
        "reason": "outage",
        "override": "on",
    }
    assert "data-override" not in admin.get(page_of(newer)).text
    assert "OVERRIDE_NOT_ALLOWED" in admin.post(page_of(newer), form).text
    policy.change(newer.pipeline, {"emergencyOverride": True}, actor="user:admin")
    assert "data-override" not in manager.get(page_of(newer)).text
    assert manager.post(page_of(newer), form).status_code == 403
    page = admin.get(page_of(newer))
    assert "data-override" in page.text
    assert page.context["refusing"] == []
    assert "REASON_REQUIRED" in admin.post(page_of(newer), {**form, "reason": ""}).text
    assert admin.post(page_of(newer), form).status_code == 302
    made = Activation.objects.latest("id")
    assert (made.release, made.override) == (newer, True)
    assert "bg-red" in history(newer)
    assert "override" in history(newer)


def test_the_page_of_a_failed_request_says_why(log_in: LogIn, newer: Release) -> None:
    policy.change(newer.pipeline, {"workerGate": "require"}, actor="user:admin")
    asking(log_in("release-manager"), newer)
    voted(ActivationRequest.objects.get(), User.objects.get(username="second"))
    made = ActivationRequest.objects.get()
    text = log_in("viewer").get(reverse("admin:releases_activationrequest_change", args=[made.pk])).text
    assert "WORKER_REQUIRED" in text
    assert "pipelines worker" in text
    assert "data-withdraw" not in text


def test_the_form_of_a_gradual_activation_requests_it(log_in: LogIn, newer: Release) -> None:
    client = log_in("release-manager")
    pipeline = reverse("admin:releases_pipeline_change", args=[newer.pipeline_id])
    page = client.get(pipeline)
    form = page.text.partition("data-gradual-start")[2].partition("</form>")[0]
    assert '<input type="hidden" name="request" value="1">' in form
    assert "Request" in form
    fields = {
        **{"release_version": "2.0", "steps": "5 20 0", "tags": "canary", "failure_percentage_points": "1"},
        **{"duration_factor": "2", "significance": "0.01", "expected_release_version": "1.0"},
        "operation_key": page.context["gradual_key"],
    }
    address = reverse("admin:releases_pipeline_gradual", args=[newer.pipeline_id])
    assert "APPROVAL_REQUIRED" in said(client.post(address, fields, follow=True))[0]
    assert "REASON_REQUIRED" in said(client.post(address, {**fields, "request": "1"}, follow=True))[0]
    for _ in range(2):  # a repeated form is the same request
        page = client.post(address, {**fields, "request": "1", "reason": "faster"}, follow=True)
        assert said(page) == ["The request waits for 1 approval by other people."]
    made = ActivationRequest.objects.get()
    shown = client.get(reverse("admin:releases_activationrequest_change", args=[made.pk])).text
    assert "5 % for 20 executions and 0 minutes; tags canary" in shown.partition("data-plan")[2]
    voted(made, User.objects.get(username="second"))
    assert Activation.objects.filter(kind="gradual", request=made).count() == 1


def test_the_form_starts_at_once_if_no_approvals_are_needed(log_in: LogIn, newer: Release) -> None:
    policy.change(newer.pipeline, {"approvals": 0}, actor="user:admin")
    text = log_in("release-manager").get(reverse("admin:releases_pipeline_change", args=[newer.pipeline_id])).text
    form = text.partition("data-gradual-start")[2].partition("</form>")[0]
    assert 'name="request"' not in form
    assert "Start" in form
