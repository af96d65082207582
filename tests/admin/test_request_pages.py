"""The pages of requests to activate a release: how they are made, voted on and withdrawn, and overrides."""

from typing import Any

import pytest
from django.test import Client

from releases.activation import policy
from releases.models import Activation, ActivationRequest, Release
from tenancy.roles import Role
from tests.admin.browsing import said, to
from tests.admin.conftest import LogIn, World, log_in_as, person
from tests.requesting import soon


@pytest.fixture
def newer(acme: World, newer: Release) -> Release:
    """A registered release whose activation needs one approval."""
    policy.change(newer.pipeline, {"approvals": 1}, actor="user:admin")
    person("second", acme.tenant, Role.RELEASE_MANAGER)
    return newer


def page_of(release: Release) -> str:
    return to("releases_release_activate", release)


def asking(client: Client, release: Release, **more: str) -> Any:
    """Send the form "Request the activation" of the release's page."""
    context = client.get(page_of(release)).context
    form = {"expected_release_version": context["active"].release_version, "operation_key": context["operation_key"]}
    return client.post(to("releases_release_request", release), {**form, "reason": "faster", **more}, follow=True)


def send(who: str | Client, act: str, **fields: Any) -> Any:
    client = log_in_as(who) if isinstance(who, str) else who
    address = to(f"releases_activationrequest_{act}", ActivationRequest.objects.get())
    return client.post(address, fields, follow=True)


def history(release: Release) -> str:
    """Return the table of the activations on the page of the pipeline."""
    text = log_in_as("viewer").get(to("releases_pipeline_change", release.pipeline_id)).text
    return text.partition("data-history>")[2].partition("</table>")[0]


def test_a_request_is_approved_by_another_person(manager: Client, newer: Release) -> None:
    assert [gate.name for gate in manager.get(page_of(newer)).context["refusing"]] == ["approval"]
    answer = asking(manager, newer)
    assert said(answer) == ["The request waits for 1 approval by other people."]
    assert "data-vote>" not in answer.text
    assert said(send(manager, "vote", decision="approve", round="1"))[0].startswith("OWN_REQUEST")
    second = log_in_as("second")
    assert "data-vote>" in second.get(answer.request["PATH_INFO"]).text
    assert said(send(second, "vote", decision="perhaps", round="1"))[0].startswith("Choose a decision")
    counted = send(second, "vote", decision="approve", round="1", comment="looks <good>")
    assert said(counted) == ["The vote counts. The request is ACTIVATED."]
    assert "looks &lt;good&gt;" in counted.text
    assert "approved by user:second: “looks &lt;good&gt;”" in history(newer)
    assert Activation.objects.latest("id").release == newer


def test_a_time_makes_a_schedule_which_can_be_withdrawn(log_in: LogIn, manager: Client, newer: Release) -> None:
    policy.change(newer.pipeline, {"approvals": 0}, actor="user:admin")
    assert said(asking(manager, newer, activate_at="tomorrow"))[0].startswith("Time: must be a time such as")
    assert said(asking(manager, newer, activate_at="2001-01-01T00:00:00Z"))[0].startswith("ACTIVATION_TIME_INVALID")
    assert not ActivationRequest.objects.exists()
    answer = asking(manager, newer, activate_at=soon().isoformat())
    assert said(answer)[0].startswith("The request is approved. Release 2.0 will be activated at 2")
    shown = log_in("viewer").get(to("releases_activationrequest_change", ActivationRequest.objects.get())).text
    assert "<form" not in shown.partition("data-votes")[2].partition("</main>")[0]
    assert said(send(manager, "withdraw", reason=" "))[0].startswith("REASON_REQUIRED")
    assert said(send(manager, "withdraw", reason="wrong")) == ["The request is withdrawn."]
    assert ActivationRequest.objects.get().ended_by == "user:release-manager"


def test_an_override_is_for_tenant_admins_and_shown_in_red(log_in: LogIn, manager: Client, newer: Release) -> None:
    admin = log_in("tenant-admin")
    form = {"expected_release_version": "1.0", "operation_key": "k", "reason": "outage", "override": "on"}
    assert "data-override" not in admin.get(page_of(newer)).text
    assert "OVERRIDE_NOT_ALLOWED" in admin.post(page_of(newer), form).text
    policy.change(newer.pipeline, {"emergencyOverride": True}, actor="user:admin")
    assert "data-override" not in manager.get(page_of(newer)).text
    assert manager.post(page_of(newer), form).status_code == 403
    assert admin.get(page_of(newer)).context["refusing"] == []
    assert "REASON_REQUIRED" in admin.post(page_of(newer), {**form, "reason": ""}).text
    assert admin.post(page_of(newer), form).status_code == 302
    made = Activation.objects.latest("id")
    assert (made.release, made.override) == (newer, True)
    assert "override" in history(newer)
