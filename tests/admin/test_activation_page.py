import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from governance.activation.activation import activate
from governance.smoke_tests import smoke_tests
from releases import policy
from releases.models import Activation, ActivationRequest, GradualActivation, Pipeline, Release
from releases.trust.attachments import attach
from tenancy.models import Membership
from tenancy.roles import Role
from tests import gradual, making, signing
from tests.admin.browsing import history, said, to, words
from tests.admin.conftest import LogIn, World, log_in_as, person
from tests.alerts.alerting import channel
from tests.cases import cases
from tests.governance.activation.test_activation import age
from tests.requesting import let_pass, soon

FIELD = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
PRICES = "acme.prices"


def address(release: Release) -> str:
    return to("releases_release_activate", release)


def shown(release: Release) -> str:
    """The address of the pre-flight and the form, which come after the page."""
    return to("releases_release_activate_form", release)


def form_of(client: Client, release: Release, **more: str) -> dict[str, str]:
    context = client.get(shown(release)).context
    active = context["active"].release_version if context["active"] else ""
    return {"expected_release_version": active, "operation_key": context["operation_key"], "reason": "", **more}


def test_an_activation_is_shown_before_and_in_the_history_and_repeated_once(manager: Client, newer: Release) -> None:
    text = manager.get(shown(newer)).text
    assert ["Executions that stay on 1.0</dt><dd>1 live" in text, "data-typed-version" in text] == [True, False]
    form = form_of(manager, newer, reason=" It is time. ")
    first, second = manager.post(address(newer), form), manager.post(address(newer), form)
    assert (first.status_code, first["Location"]) == (302, second["Location"])
    made = history(newer)[-1]
    assert (made.release, made.reason, made.actor) == (newer, "It is time.", "user:release-manager")
    assert len(history(newer)) == 2
    assert "It is time." in manager.get(first["Location"]).text
    making.registered(made.pipeline.tenant, "3.0", pipeline_id="acme.orders")
    buttons = manager.get(page_of(newer)).text.partition("dc-head-acts")[2].partition("<summary")[0]
    assert ["Activate 3.0" in buttons, "/rollback/" in buttons] == [True, True]


def test_an_activation_is_rejected_if_another_release_is_active(manager: Client, acme: World, newer: Release) -> None:
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
    assert "data-typed-version" in manager.get(shown(breaking)).text
    form = form_of(manager, breaking, typed_version=typed)
    answer = manager.post(address(breaking), form)
    assert (answer.status_code, "Type its version, 2.0" in answer.text) == (400, True)
    assert active_version(breaking) == "1.0"
    assert manager.post(address(breaking), {**form, "typed_version": " 2.0 "}).status_code == 302
    assert active_version(breaking) == "2.0"


def test_requests_and_gradual_activations_need_the_typed_version(manager: Client, breaking: Release) -> None:
    request, asked = to("releases_release_request", breaking), form_of(manager, breaking, activate_at=f"{soon()}")
    for way, sent, made in (
        (request, {**asked, "reason": "new"}, ActivationRequest.objects.filter(release=breaking)),
        (gradual_address(breaking), form(manager, breaking, tags=""), GradualActivation.objects.all()),
    ):
        answers = [manager.post(way, {**sent, "typed_version": typed}, follow=True).text for typed in ("", "2.0")]
        assert ["Type its version, 2.0" in answer for answer in answers] == [True, False]
        assert made.count() == 1
    assert "data-breaking" in manager.get(to("releases_activationrequest_change", ActivationRequest.objects.get())).text


def test_a_rollback_is_refused_until_the_version_is_typed(log_in: LogIn, acme: World) -> None:
    old = making.active(acme.tenant, "0.9", pipeline_id=PRICES, canonicalTypes=types(FIELD))
    newest = making.registered(acme.tenant, "1.1", pipeline_id=PRICES, canonicalTypes=types())
    activate(newest, actor="user:test")
    client, address = log_in("on-call"), reverse("admin:releases_pipeline_rollback", args=[old.pipeline_id])
    page = client.get(address)
    form = {"release_version": "0.9", "expected_release_version": "1.1", "reason": "it fails"}
    form["operation_key"] = page.context["operation_key"]
    refused = client.post(address, form)
    assert (refused.status_code, "Type its version, 0.9" in refused.text) == (400, True)
    assert 'value="it fails"' in refused.text
    assert active_version(old) == "1.1"
    client.post(address, {**form, "typed_version": "0.9"})
    assert active_version(old) == "0.9"


@pytest.fixture
def gated(acme: World, newer: Release) -> Release:
    policy.change(newer.pipeline, {"approvals": 1}, actor="user:admin")
    person("second", acme.tenant, Role.APPROVER)
    return newer


def asking(client: Client, release: Release, **more: str) -> Any:
    """Send the form "Request the activation" of the release's page."""
    context = client.get(shown(release)).context
    form = {"expected_release_version": context["active"].release_version, "operation_key": context["operation_key"]}
    return client.post(to("releases_release_request", release), {**form, "reason": "faster", **more}, follow=True)


def send(who: str | Client, act: str, **fields: Any) -> Any:
    client = log_in_as(who) if isinstance(who, str) else who
    return client.post(to(f"releases_activationrequest_{act}", ActivationRequest.objects.get()), fields, follow=True)


def reviewed(client: Client) -> str:
    """What the votes decide on, which comes after the page."""
    return str(client.get(to("releases_activationrequest_review", ActivationRequest.objects.get())).text)


@cases(
    ("change", "button", "note", "refused"),
    ({"approvals": 2}, "Approve", "1 more is needed", 0),
    ({"signaturePolicy": "require"}, "Approve and activate 2.0 now", "data-would-fail", 1),
)
def test_a_voter_sees_what_the_vote_does(
    manager: Client, gated: Release, change: dict[str, Any], button: str, note: str, refused: int
) -> None:
    policy.change(gated.pipeline, change, actor="user:admin")
    asking(manager, gated)
    let_pass(ActivationRequest.objects.get(), 1)
    attach(gated, [json.dumps(signing.spdx()).encode()], actor="user:ci")
    text = reviewed(log_in_as("second"))
    assert [f">{button}</button>" in text, note in text] == [True, True]
    assert {reviewed(client).count("cannot be activated. ") for client in (manager, log_in_as("second"))} == {refused}
    page = to("releases_activationrequest_change", ActivationRequest.objects.get())
    making.worker(gated, "new")
    smoke_tests.start(gated, actor="user:ci", input={}, idempotency_key="k")
    assert log_in_as("viewer").get(page).text.count("after the request") == 2
    assert ["data-vote>" in reviewed(client) for client in (manager, log_in_as("viewer"))] == [False, False]
    if not refused:
        send("second", "vote", decision="approve", round="1")
        text = reviewed(log_in_as("second"))
        assert ["data-vote>" in text, "1 more approval is needed." in text] == [False, True]
    policy.change(gated.pipeline, {"reasonRequired": True}, actor="user:admin")
    text = reviewed(log_in_as("second"))
    assert ["reasonRequired: was False, is now True" in text, "round 2 begins" in text] == [True, True]
    Membership.objects.filter(user__username="release-manager").delete()
    assert "user:release-manager, who made the request, no longer holds the scope" in reviewed(log_in_as("second"))


def table_of_activations(release: Release) -> str:
    text = log_in_as("viewer").get(page_of(release, "history")).text
    return text.partition("data-history>")[2].partition("</table>")[0]


def test_a_request_is_approved_by_another_person(manager: Client, acme: World, gated: Release) -> None:
    assert manager.get(shown(gated)).text.count('such as with <code class="dc-mono">coordinator requests make') == 1
    answer = asking(manager, gated)
    page = answer.request["PATH_INFO"]
    assert said(answer) == ["The request waits for 1 approval by other people."]
    assert "data-vote>" not in answer.text
    assert said(send(manager, "vote", decision="approve", round="1"))[0].startswith("OWN_REQUEST")
    second = log_in_as("second")
    text = reviewed(second)
    assert all(f"data-{name}" in text for name in ("vote", "preflight", "differences"))
    assert all(f"data-{name}" in second.get(page).text for name in ("digests", "standing", "smoke-tests"))
    assert [part in text for part in ("activate 2.0 now", "data-changed", "would-fail")] == [True, False, False]
    assert said(send(second, "vote", decision="perhaps", round="1"))[0].startswith("Choose a decision")
    counted = send(second, "vote", decision="approve", round="1", comment="looks <good>")
    assert said(counted) == ["The vote counts. The request is ACTIVATED."]
    assert "looks &lt;good&gt;" in counted.text
    assert "approved by user:second: “looks &lt;good&gt;”" in table_of_activations(gated)
    assert Activation.objects.latest("id").release == gated
    making.worker(gated, "new")
    by = "token:token-of-acme"
    execution = making.submitted(acme.tenant, "after", pipeline_id="acme.orders", actor=by).execution
    for page in ("executions_execution_change", "executions_execution_provenance"):
        text = words(log_in_as("viewer").get(to(page, execution)))
        assert "Activation 2 by user:release-manager Requested by user:release-manager Approved by user:second" in text
        assert f"Submitted by {by} (tenant-admin-of-acme)" in text
    activate(acme.release, actor=by, reason="back")
    assert f"{by} (tenant-admin-of-acme)" in table_of_activations(gated)


def test_a_time_makes_a_schedule_which_can_be_withdrawn(log_in: LogIn, manager: Client, gated: Release) -> None:
    policy.change(gated.pipeline, {"approvals": 0}, actor="user:admin")
    assert said(asking(manager, gated, activate_at="tomorrow"))[0].startswith("Time: must be a time such as")
    assert not ActivationRequest.objects.exists()
    answer = asking(manager, gated, activate_at=soon().isoformat())
    assert said(answer)[0].startswith("The request is approved. Release 2.0 will be activated at 2")
    shown = log_in("viewer").get(to("releases_activationrequest_change", ActivationRequest.objects.get())).text
    assert "<form" not in shown.partition("data-votes")[2].partition("</main>")[0]
    for wrong in (" ", "a\0b", "x" * 1001):
        assert said(send(manager, "withdraw", reason=wrong))[0].startswith("Give a reason of at most 1,000 characters.")
    assert said(send(manager, "withdraw", reason="wrong")) == ["The request is withdrawn."]
    assert ActivationRequest.objects.get().ended_by == "user:release-manager"


def test_an_override_is_for_tenant_admins_and_shown_in_red(log_in: LogIn, manager: Client, gated: Release) -> None:
    admin = log_in("tenant-admin")
    form = {"expected_release_version": "1.0", "operation_key": "k", "reason": "outage", "override": "on"}
    assert "data-override" not in admin.get(shown(gated)).text
    policy.change(gated.pipeline, {"emergencyOverride": True}, actor="user:admin")
    assert "data-override" not in manager.get(shown(gated)).text
    assert manager.post(address(gated), form).status_code == 403
    assert admin.get(shown(gated)).context["refusing"] == []
    assert admin.post(address(gated), form).status_code == 302
    made = Activation.objects.latest("id")
    assert (made.release, made.override) == (gated, True)
    assert "override" in table_of_activations(gated)


def page_of(release: Release, tab: str = "overview") -> str:
    return f"{to('releases_pipeline_change', release.pipeline_id)}?tab={tab}"


def gradual_address(release: Release, operation: str = "", *made: GradualActivation) -> str:
    return to(f"releases_pipeline_gradual{operation}", release.pipeline_id, *made)


def form(client: Client, release: Release, **changes: str) -> dict[str, str]:
    """Return the form of the page, with the values that a user sends."""
    context = client.get(page_of(release)).context
    return {
        **{"expected_release_version": context["active"].release.release_version, "tags": "beta, eu", "tokens": ""},
        **{"operation_key": context["gradual_key"], "release_version": release.release_version, "reason": "faster"},
        **{"steps": context["proposed_steps"], "failure_percentage_points": "5", "duration_factor": "1.5"},
        **{"significance": "0.001", **changes},
    }


@pytest.fixture
def started(manager: Client, newer: Release) -> GradualActivation:
    manager.post(gradual_address(newer), form(manager, newer, steps="5 50 10\n25 50 10\n50 50 10"), follow=True)
    return GradualActivation.objects.get()


def test_from_the_start_to_the_promotion(manager: Client, acme: World, newer: Release) -> None:
    sent = form(manager, newer)
    answer = manager.post(gradual_address(newer), sent, follow=True)
    assert said(answer) == ["Release 2.0 gets its share of new executions of acme.orders."]
    manager.post(gradual_address(newer), sent, follow=True)
    made = GradualActivation.objects.get()
    groups = {"tags": ["beta", "eu"], "tokens": []}
    assert (made.reason, made.actor, made.groups) == ("faster", "user:release-manager", groups)
    assert [step["share"] for step in made.steps] == [5, 25, 50]
    assert "gets 5 % of new executions, 1.0 the others." in words(answer)
    assert (answer.context["activated"].kind, answer.context["active"].kind) == ("activation", "gradual")
    operation = {"expected_release_version": "1.0", "operation_key": "s", "expected_step": "0"}
    moved = manager.post(gradual_address(newer, "_step", made), operation, follow=True)
    assert said(moved) == ["Release 2.0 gets 25 % of new executions of acme.orders."]
    assert "Promote 2.0 without full evidence" in moved.text
    operation["operation_key"] = "p"
    done = manager.post(gradual_address(newer, "_promote", made), operation, follow=True)
    assert said(done)[0].startswith("REASON_REQUIRED")
    done = manager.post(gradual_address(newer, "_promote", made), {**operation, "reason": "urgent"}, follow=True)
    assert said(done) == ["Release 2.0 is active for new executions of acme.orders."]
    assert [event.kind for event in history(newer)] == ["activation", "gradual", "gradual", "promotion"]


def test_on_call_staff_withdraw_with_a_reason(log_in: LogIn, newer: Release, started: GradualActivation) -> None:
    client = log_in("on-call")
    text = client.get(page_of(newer)).text
    assert [act in text for act in ("Withdraw 2.0", "Promote 2.0", "Move on to", "/rollback/")] == [True, *[False] * 3]
    assert "Withdraw 2.0" not in log_in("viewer").get(page_of(newer)).text
    operation = {"expected_release_version": "1.0", "operation_key": "w", "reason": " "}
    [refusal] = said(client.post(gradual_address(newer, "_withdraw", started), operation, follow=True))
    assert refusal.endswith("Nothing changed.")
    assert gradual.again(started).status == "RUNNING"
    client.post(gradual_address(newer, "_withdraw", started), {**operation, "reason": "slow"}, follow=True)
    assert "by user:on-call: slow" in words(client.get(page_of(newer, "releases")))


@pytest.fixture
def replaced(newer: Release) -> Release:
    activate(newer, actor="user:somebody", reason="faster")
    return newer


def test_on_call_rolls_back_in_one_step(log_in: LogIn, replaced: Release) -> None:
    client, old = log_in("on-call"), history(replaced)[0].release
    way = to("releases_pipeline_rollback", replaced.pipeline_id)
    for page, link in (
        (page_of(replaced), way),
        (to("releases_release_change", replaced), way),
        (to("releases_release_change", old), f"{way}?to=1.0"),
    ):
        assert f'href="{link}"' in client.get(page).text
        denied = log_in("operator").get(page).text
        assert (way in denied, "These roles may: on-call, release manager, tenant admin." in denied) == (False, True)
    form = {"operation_key": "k", "release_version": "1.0", "expected_release_version": "2.0", "reason": "It fails"}
    address = to("releases_pipeline_rollback", replaced.pipeline_id)
    for wrong, status, message in (
        ({"reason": " "}, 400, "This field is required."),
        ({"release_version": "2.0"}, 409, "NO_ROLLBACK"),
        ({"expected_release_version": "1.0"}, 409, "ACTIVE_RELEASE_CHANGED"),
    ):
        refused = client.post(address, {**form, **wrong})
        assert (refused.status_code, message in refused.text) == (status, True)
    assert log_in("operator").post(address, form).status_code == 403
    assert len(history(replaced)) == 2
    policy.change(replaced.pipeline, {"approvals": 1}, actor="user:x")  # a rollback to a recent release needs none
    answers = [client.post(address, form, follow=True) for _ in range(2)]
    assert said(answers[0]) == ["Rolled back: release 1.0 is active for new executions of acme.orders."]
    assert len(history(replaced)) == 3
    made = history(replaced)[-1]
    assert (made.release.release_version, made.kind, made.actor) == ("1.0", "rollback", "user:on-call")
    assert made.reason == "It fails"
    policy.change(replaced.pipeline, {"approvals": 0}, actor="user:x")
    age(replaced, 31)
    again = {**form, "operation_key": "l", "release_version": "2.0", "expected_release_version": "1.0"}
    assert "was not active in the last 30 days" in client.get(address).text
    refused = client.post(address, again)
    assert (refused.status_code, "ROLLBACK_TOO_FAR" in refused.text) == (403, True)
    assert len(history(replaced)) == 3


@pytest.fixture
def pipeline(acme: World) -> Pipeline:
    channel(acme.release.pipeline.tenant, name="shop")
    changes = {"retryLimit": 5, "rollBackDays": 7, "reasonRequired": True}
    return policy.change(acme.release.pipeline, changes, actor="user:x")


@cases(
    ("sent", "saved"),
    [
        ({"signature_policy": "require"}, {}),
        ({"unverified_workers": "allow"}, {}),
        ({"worker_gate": "warn"}, {}),
        ({"missing_artifacts": "identity-only"}, {}),
        ({"reason_required": ["off", "on"]}, {"reason_required": True}),
        ({"validate_answers": ["off"]}, {"validate_answers": False}),
        ({"retry_limit": "0", "retry_multiplier": "1.5"}, {"retry_limit": 0, "retry_multiplier": 1.5}),
        ({"retry_limit": "", "notify_channel": ""}, {"retry_limit": None, "notify_channel": None}),
        ({"notify_ends": "failed", "notify_channel": "shop"}, {}),
        ({"rollback_days": ""}, {"rollback_days": 7}),
        ({"signature_policy": "require", "rollback_days": "0"}, None),
        ({"signature_policy": "require", "retry_limit": "1.5"}, None),
        ({"signature_policy": "require", "reason_required": "perhaps"}, None),
        ({"signature_policy": "require", "worker_gate": "perhaps"}, None),
        ({"step_policies": "{"}, None),
        ({"step_policies": '{"Book": {"retries": 1}, "Book": {"retries": 2}}'}, None),
        ({"step_policies": '{"Book": {"retries": 1001}}'}, None),
    ],
)
def test_only_the_members_that_the_form_sends_change_and_none_if_one_is_wrong(
    log_in: LogIn, pipeline: Pipeline, sent: dict[str, Any], saved: dict[str, Any] | None
) -> None:
    """A check box that is not checked sends only `off`. An empty number unsets what can be unset."""
    before = Pipeline.objects.values().get(pk=pipeline.pk)
    [outcome] = said(log_in("tenant-admin").post(to("releases_pipeline_policy", pipeline), sent, follow=True))
    assert outcome.endswith("Nothing changed.") == (saved is None)
    assert Pipeline.objects.values().get(pk=pipeline.pk) == {**before, **({} if saved is None else saved or sent)}
