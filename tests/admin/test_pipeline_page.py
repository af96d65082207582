"""The page of a pipeline: gradual activations, the rollback, and the policy."""

from typing import Any

import pytest
from django.test import Client

from releases.activation import policy
from releases.activation.activation import activate
from releases.models import GradualActivation, Pipeline, Release
from tests import gradual
from tests.admin.browsing import history, said, to, words
from tests.admin.conftest import LogIn, World
from tests.cases import cases


def page_of(release: Release) -> str:
    return to("releases_pipeline_change", release.pipeline_id)


def address(release: Release, operation: str = "", *made: GradualActivation) -> str:
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
    manager.post(address(newer), form(manager, newer, steps="5 50 10\n25 50 10\n50 50 10"), follow=True)
    return GradualActivation.objects.get()


def test_from_the_start_to_the_promotion(manager: Client, acme: World, newer: Release) -> None:
    sent = form(manager, newer)
    answer = manager.post(address(newer), sent, follow=True)
    assert said(answer) == ["Release 2.0 gets its share of new executions of acme.orders."]
    manager.post(address(newer), sent, follow=True)
    made = GradualActivation.objects.get()
    groups = {"tags": ["beta", "eu"], "tokens": []}
    assert (made.reason, made.actor, made.groups) == ("faster", "user:release-manager", groups)
    assert [step["share"] for step in made.steps] == [5, 25, 50]
    assert "gets 5 % of new executions, 1.0 the others." in words(answer)
    assert (answer.context["activated"].kind, answer.context["active"].kind) == ("activation", "gradual")
    operation = {"expected_release_version": "1.0", "operation_key": "s", "expected_step": "0"}
    moved = manager.post(address(newer, "_step", made), operation, follow=True)
    assert said(moved) == ["Release 2.0 gets 25 % of new executions of acme.orders."]
    done = manager.post(address(newer, "_promote", made), {**operation, "operation_key": "p"}, follow=True)
    assert said(done) == ["Release 2.0 is active for new executions of acme.orders."]
    assert [each.kind for each in history(newer)] == ["activation", "gradual", "gradual", "promotion"]


def test_on_call_staff_withdraw_with_a_reason(log_in: LogIn, newer: Release, started: GradualActivation) -> None:
    client = log_in("on-call")
    text = client.get(page_of(newer)).text
    assert [act in text for act in ("Withdraw 2.0", "Promote 2.0", "Move on to")] == [True, False, False]
    assert "Withdraw 2.0" not in log_in("viewer").get(page_of(newer)).text
    operation = {"expected_release_version": "1.0", "operation_key": "w", "reason": " "}
    [refusal] = said(client.post(address(newer, "_withdraw", started), operation, follow=True))
    assert refusal.endswith("Nothing changed.")
    assert gradual.again(started).status == "RUNNING"
    answer = client.post(address(newer, "_withdraw", started), {**operation, "reason": "slow"}, follow=True)
    assert "by user:on-call: slow" in words(answer)


@pytest.fixture
def replaced(newer: Release) -> Release:
    """The active release, which replaced 1.0."""
    activate(newer, actor="user:somebody", reason="faster")
    return newer


def test_on_call_rolls_back_in_one_step(log_in: LogIn, replaced: Release) -> None:
    client = log_in("on-call")
    assert "Roll back to 1.0" in client.get(page_of(replaced)).text
    assert "data-rollback>" not in log_in("operator").get(page_of(replaced)).text
    form = {"operation_key": "k", "release_version": "1.0", "expected_release_version": "2.0", "reason": "It fails"}
    address = to("releases_pipeline_rollback", replaced.pipeline_id)
    for wrong, message in (({"reason": " "}, "Nothing changed."), ({"release_version": "2.0"}, "NO_ROLLBACK")):
        [refusal] = said(client.post(address, {**form, **wrong}, follow=True))
        assert message in refusal
    assert len(history(replaced)) == 2
    answers = [client.post(address, form, follow=True) for _ in range(2)]
    assert said(answers[0]) == ["Rolled back: release 1.0 is active for new executions of acme.orders."]
    assert len(history(replaced)) == 3
    made = history(replaced)[-1]
    assert (made.release.release_version, made.kind, made.actor) == ("1.0", "rollback", "user:on-call")
    assert made.reason == "It fails"


@pytest.fixture
def pipeline(acme: World) -> Pipeline:
    """A pipeline with a policy that differs from the default."""
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
        ({"retry_limit": ""}, {"retry_limit": None}),
        ({"rollback_days": ""}, {"rollback_days": 7}),
    ],
)
def test_only_the_members_that_the_form_sends_change(
    log_in: LogIn, pipeline: Pipeline, sent: dict[str, Any], saved: dict[str, Any]
) -> None:
    """A check box that is not checked sends only `off`. An empty number unsets what can be unset."""
    before = Pipeline.objects.values().get(pk=pipeline.pk)
    log_in("tenant-admin").post(to("releases_pipeline_policy", pipeline), sent)
    assert Pipeline.objects.values().get(pk=pipeline.pk) == {**before, **(saved or sent)}


@cases(
    "wrong",
    [
        *({"rollback_days": "0"}, {"retry_limit": "1.5"}, {"reason_required": "perhaps"}, {"worker_gate": "perhaps"}),
    ],
)
def test_an_invalid_value_changes_nothing(log_in: LogIn, acme: World, wrong: dict[str, str]) -> None:
    before = Pipeline.objects.values().get(pk=acme.release.pipeline_id)
    sent = {"signature_policy": "require", **wrong}
    log_in("tenant-admin").post(to("releases_pipeline_policy", acme.release.pipeline_id), sent)
    assert Pipeline.objects.values().get(pk=acme.release.pipeline_id) == before
