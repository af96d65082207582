"""The page that activates a release, requests for it, and the version that whoever breaks callers has to type."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from releases.activation import policy
from releases.activation.activation import activate
from releases.models import Activation, ActivationRequest, GradualActivation, Release
from tenancy.roles import Role
from tests import making
from tests.admin.browsing import history, said, to
from tests.admin.conftest import LogIn, World, log_in_as, person
from tests.cases import cases
from tests.requesting import soon

FIELD = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
PRICES = "acme.prices"


def address(release: Release) -> str:
    return to("releases_release_activate", release)


def form_of(client: Client, release: Release, **more: str) -> dict[str, str]:
    """Return the fields of the form on the page."""
    context = client.get(address(release)).context
    active = context["active"].release_version if context["active"] else ""
    return {"expected_release_version": active, "operation_key": context["operation_key"], "reason": "", **more}


def test_an_activation_is_shown_before_and_in_the_history_and_repeated_once(manager: Client, newer: Release) -> None:
    text = manager.get(address(newer)).text
    assert ["Executions that stay on 1.0</dt><dd>1 live" in text, "data-typed-version" in text] == [True, False]
    form = form_of(manager, newer, reason=" It is time. ")
    first, second = manager.post(address(newer), form), manager.post(address(newer), form)
    assert (first.status_code, first["Location"]) == (302, second["Location"])
    made = history(newer)[-1]
    assert (made.release, made.reason, made.actor) == (newer, "It is time.", "user:release-manager")
    assert len(history(newer)) == 2
    assert "It is time." in manager.get(first["Location"]).text


def test_an_activation_is_rejected_if_another_release_has_become_active(
    manager: Client, acme: World, newer: Release
) -> None:
    form = form_of(manager, newer)
    other = making.registered(acme.tenant, "3.0", pipeline_id="acme.orders")
    activate(other, actor="user:somebody")
    answer = manager.post(address(newer), {**form, "reason": "mine"})
    assert answer.status_code == 409
    for shown in ("ACTIVE_RELEASE_CHANGED", 'name="expected_release_version" value="3.0"', ">mine</textarea>"):
        assert shown in answer.text
    assert history(newer)[-1].release == other
    again = {**form, "expected_release_version": "3.0", "operation_key": answer.context["operation_key"]}
    assert manager.post(address(newer), again).status_code == 302
    assert history(newer)[-1].release == newer


def types(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


@pytest.fixture
def breaking(acme: World) -> Release:
    """A release whose inputs need a field that inputs of 1.0 do not have."""
    making.active(acme.tenant, "1.0", pipeline_id=PRICES, canonicalTypes=types())
    return making.registered(acme.tenant, "2.0", pipeline_id=PRICES, canonicalTypes=types(FIELD))


def active_version(release: Release) -> str:
    return history(release)[-1].release.release_version


@cases("typed", ["", "1.0", "2.0.0"])
def test_an_activation_is_refused_until_the_version_is_typed(typed: str, manager: Client, breaking: Release) -> None:
    assert "data-typed-version" in manager.get(address(breaking)).text
    form = form_of(manager, breaking, typed_version=typed)
    answer = manager.post(address(breaking), form)
    assert (answer.status_code, "Type its version, 2.0" in answer.text) == (400, True)
    assert active_version(breaking) == "1.0"
    assert manager.post(address(breaking), {**form, "typed_version": " 2.0 "}).status_code == 302
    assert active_version(breaking) == "2.0"


def test_requests_gradual_activations_and_rollbacks_need_the_typed_version(manager: Client, breaking: Release) -> None:
    form = form_of(manager, breaking, activate_at=soon().isoformat(), reason="new")
    request = to("releases_release_request", breaking)
    assert "Type its version, 2.0" in manager.post(request, form, follow=True).text
    assert not ActivationRequest.objects.exists()
    answer = manager.post(request, {**form, "typed_version": "2.0"}, follow=True)
    assert ActivationRequest.objects.get().release == breaking
    assert "data-breaking" in answer.text
    pipeline = to("releases_pipeline_change", breaking.pipeline_id)
    form = {
        **{"expected_release_version": "1.0", "operation_key": manager.get(pipeline).context["gradual_key"]},
        **{"release_version": "2.0", "steps": "5 50 10", "tags": "", "tokens": "", "reason": "new"},
        **{"failure_percentage_points": "5", "duration_factor": "1.5", "significance": "0.001"},
    }
    start = to("releases_pipeline_gradual", breaking.pipeline_id)
    assert "Type its version, 2.0" in manager.post(start, form, follow=True).text
    assert not GradualActivation.objects.exists()
    manager.post(start, {**form, "typed_version": "2.0"})
    assert GradualActivation.objects.get().candidate == breaking


def test_a_rollback_is_refused_until_the_version_is_typed(log_in: LogIn, acme: World) -> None:
    old = making.active(acme.tenant, "0.9", pipeline_id=PRICES, canonicalTypes=types(FIELD))
    newest = making.registered(acme.tenant, "1.1", pipeline_id=PRICES, canonicalTypes=types())
    activate(newest, actor="user:test")
    client, address = log_in("on-call"), reverse("admin:releases_pipeline_rollback", args=[old.pipeline_id])
    page = client.get(to("releases_pipeline_change", old.pipeline_id))
    form = {
        **{"release_version": "0.9", "expected_release_version": "1.1"},
        **{"operation_key": page.context["rollback_key"], "reason": "it fails"},
    }
    assert "Type its version, 0.9" in client.post(address, form, follow=True).text
    assert active_version(old) == "1.1"
    client.post(address, {**form, "typed_version": "0.9"})
    assert active_version(old) == "0.9"


@pytest.fixture
def asked(acme: World, newer: Release) -> Release:
    """A registered release whose activation needs one approval."""
    policy.change(newer.pipeline, {"approvals": 1}, actor="user:admin")
    person("second", acme.tenant, Role.RELEASE_MANAGER)
    return newer


def asking(client: Client, release: Release, **more: str) -> Any:
    """Send the form "Request the activation" of the release's page."""
    context = client.get(address(release)).context
    form = {"expected_release_version": context["active"].release_version, "operation_key": context["operation_key"]}
    return client.post(to("releases_release_request", release), {**form, "reason": "faster", **more}, follow=True)


def send(who: str | Client, act: str, **fields: Any) -> Any:
    client = log_in_as(who) if isinstance(who, str) else who
    return client.post(to(f"releases_activationrequest_{act}", ActivationRequest.objects.get()), fields, follow=True)


def table_of_activations(release: Release) -> str:
    """Return the table of the activations on the page of the pipeline."""
    text = log_in_as("viewer").get(to("releases_pipeline_change", release.pipeline_id)).text
    return text.partition("data-history>")[2].partition("</table>")[0]


def test_a_request_is_approved_by_another_person(manager: Client, asked: Release) -> None:
    assert [gate.name for gate in manager.get(address(asked)).context["refusing"]] == ["approval"]
    answer = asking(manager, asked)
    assert said(answer) == ["The request waits for 1 approval by other people."]
    assert "data-vote>" not in answer.text
    assert said(send(manager, "vote", decision="approve", round="1"))[0].startswith("OWN_REQUEST")
    second = log_in_as("second")
    assert "data-vote>" in second.get(answer.request["PATH_INFO"]).text
    assert said(send(second, "vote", decision="perhaps", round="1"))[0].startswith("Choose a decision")
    counted = send(second, "vote", decision="approve", round="1", comment="looks <good>")
    assert said(counted) == ["The vote counts. The request is ACTIVATED."]
    assert "looks &lt;good&gt;" in counted.text
    assert "approved by user:second: “looks &lt;good&gt;”" in table_of_activations(asked)
    assert Activation.objects.latest("id").release == asked


def test_a_time_makes_a_schedule_which_can_be_withdrawn(log_in: LogIn, manager: Client, asked: Release) -> None:
    policy.change(asked.pipeline, {"approvals": 0}, actor="user:admin")
    assert said(asking(manager, asked, activate_at="tomorrow"))[0].startswith("Time: must be a time such as")
    assert said(asking(manager, asked, activate_at="2001-01-01T00:00:00Z"))[0].startswith("ACTIVATION_TIME_INVALID")
    assert not ActivationRequest.objects.exists()
    answer = asking(manager, asked, activate_at=soon().isoformat())
    assert said(answer)[0].startswith("The request is approved. Release 2.0 will be activated at 2")
    shown = log_in("viewer").get(to("releases_activationrequest_change", ActivationRequest.objects.get())).text
    assert "<form" not in shown.partition("data-votes")[2].partition("</main>")[0]
    assert said(send(manager, "withdraw", reason=" "))[0].startswith("REASON_REQUIRED")
    assert said(send(manager, "withdraw", reason="wrong")) == ["The request is withdrawn."]
    assert ActivationRequest.objects.get().ended_by == "user:release-manager"


def test_an_override_is_for_tenant_admins_and_shown_in_red(log_in: LogIn, manager: Client, asked: Release) -> None:
    admin = log_in("tenant-admin")
    form = {"expected_release_version": "1.0", "operation_key": "k", "reason": "outage", "override": "on"}
    assert "data-override" not in admin.get(address(asked)).text
    assert "OVERRIDE_NOT_ALLOWED" in admin.post(address(asked), form).text
    policy.change(asked.pipeline, {"emergencyOverride": True}, actor="user:admin")
    assert "data-override" not in manager.get(address(asked)).text
    assert manager.post(address(asked), form).status_code == 403
    assert admin.get(address(asked)).context["refusing"] == []
    assert "REASON_REQUIRED" in admin.post(address(asked), {**form, "reason": ""}).text
    assert admin.post(address(asked), form).status_code == 302
    made = Activation.objects.latest("id")
    assert (made.release, made.override) == (asked, True)
    assert "override" in table_of_activations(asked)
