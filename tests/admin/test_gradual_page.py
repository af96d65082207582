"""The card of a gradual activation on the page of a pipeline."""

import pytest
from django.test import Client

from releases.models import Activation, GradualActivation, Release
from tests import gradual
from tests.admin.browsing import said, to, words
from tests.admin.conftest import LogIn, World


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
    kinds = Activation.objects.filter(pipeline=newer.pipeline).order_by("sequence").values_list("kind", flat=True)
    assert list(kinds) == ["activation", "gradual", "gradual", "promotion"]


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
