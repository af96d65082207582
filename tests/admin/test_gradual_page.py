"""The card of a gradual activation on the page of a pipeline."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from releases.activation.gradual import ending
from releases.models import Activation, GradualActivation, Release
from tests import gradual, making
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import rows


@pytest.fixture
def candidate(acme: World) -> Release:
    return making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")


def page_of(release: Release) -> str:
    return reverse("admin:releases_pipeline_change", args=[release.pipeline_id])


def address(release: Release, operation: str = "", made: GradualActivation | None = None) -> str:
    arguments = [release.pipeline_id, made.pk] if made else [release.pipeline_id]
    return reverse(f"admin:releases_pipeline_gradual{operation}", args=arguments)


def form(client: Client, release: Release, **changes: str) -> dict[str, str]:
    """Return the form of the page, with the values that a user sends."""
    context = client.get(page_of(release)).context
    return {
        "expected_release_version": context["active"].release.release_version,
        "operation_key": context["gradual_key"],
        "release_version": release.release_version,
        "steps": context["proposed_steps"],
        "tags": "beta, eu",
        "tokens": "",
        "failure_percentage_points": "5",
        "duration_factor": "1.5",
        "significance": "0.001",
        "reason": "faster",
        **changes,
    }


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_from_the_start_to_the_promotion(log_in: LogIn, acme: World, candidate: Release) -> None:
    client = log_in("release-manager")
    assert "data-gradual-start" in client.get(page_of(candidate)).text
    sent = form(client, candidate)
    answer = client.post(address(candidate), sent, follow=True)
    assert said(answer) == ["Release 2.0 gets its share of new executions of acme.orders."]
    client.post(address(candidate), sent, follow=True)
    made = GradualActivation.objects.get()
    assert (made.reason, made.actor, made.groups) == (
        *("faster", "user:release-manager"),
        {"tags": ["beta", "eu"], "tokens": []},
    )
    assert [step["share"] for step in made.steps] == [5, 25, 50]
    text = " ".join(answer.text.split())
    assert "gets 5 % of new executions, 1.0 the others." in text
    assert "25 %, after 50 executions and 10 minutes" in text
    assert "gradual: 5 % to 2.0" in text
    operation = {"expected_release_version": "1.0", "operation_key": "s", "expected_step": "0"}
    moved = client.post(address(candidate, "_step", made), operation, follow=True)
    assert said(moved) == ["Release 2.0 gets 25 % of new executions of acme.orders."]
    done = client.post(address(candidate, "_promote", made), {**operation, "operation_key": "p"}, follow=True)
    assert said(done) == ["Release 2.0 is active for new executions of acme.orders."]
    assert "Release 2.0 was promoted" in " ".join(done.text.split())
    kinds = Activation.objects.filter(pipeline=candidate.pipeline).order_by("sequence").values_list("kind", flat=True)
    assert list(kinds) == ["activation", "gradual", "gradual", "promotion"]


def test_the_numbers_of_both_releases(log_in: LogIn, acme: World, candidate: Release) -> None:
    client = log_in("release-manager")
    client.post(address(candidate), form(client, candidate, steps="5 20 0"))
    gradual.ended(acme.release, succeeded=[1.0] * 30)
    gradual.ended(candidate, succeeded=[2.5] * 10, failed=10)
    text = " ".join(client.get(page_of(candidate)).text.split())
    assert "<td>20</td><td>10</td><td>50.0 %</td><td>2.50 s</td>" in text
    assert "<td>30</td><td>0</td><td>0.0 %</td><td>1.00 s</td>" in text
    assert "The candidate exceeds the bound for failures." in text
    assert "none: promote or withdraw the candidate" in text


def test_on_call_staff_withdraw_with_a_reason(log_in: LogIn, acme: World, candidate: Release) -> None:
    manager, client = log_in("release-manager"), log_in("on-call")
    manager.post(address(candidate), form(manager, candidate))
    made = GradualActivation.objects.get()
    text = client.get(page_of(candidate)).text
    assert "Withdraw 2.0" in text
    assert "Promote 2.0" not in text
    assert "Move on to" not in text
    operation = {"expected_release_version": "1.0", "operation_key": "w", "reason": " "}
    [refusal] = said(client.post(address(candidate, "_withdraw", made), operation, follow=True))
    assert refusal.endswith("Nothing changed.")
    assert gradual.again(made).status == "RUNNING"
    answer = client.post(address(candidate, "_withdraw", made), {**operation, "reason": "slow"}, follow=True)
    assert said(answer) == ["Release 2.0 was withdrawn: it gets no further executions."]
    assert "by user:on-call: slow" in " ".join(answer.text.split())


@cases(
    ("wrong", "message"),
    [
        ({"steps": "five 50 10"}, "Steps: Each line has a share, a minimum sample and minimum minutes, as numbers."),
        ({"steps": "5 50"}, "Steps: Each line has a share"),
        ({"steps": "50 50 0\n5 50 0"}, "GRADUAL_ACTIVATION_INVALID: steps: must have growing shares"),
        ({"steps": "nan 50 0"}, "GRADUAL_ACTIVATION_INVALID"),
        ({"significance": "x"}, "Significance: Enter a number."),
        ({"release_version": "9.0"}, "RELEASE_UNKNOWN"),
        ({"expected_release_version": "0.9"}, "ACTIVE_RELEASE_CHANGED"),
        ({"release_version": "1.0"}, "CANDIDATE_ACTIVE"),
    ],
)
def test_a_rejected_start_changes_nothing(
    log_in: LogIn, acme: World, candidate: Release, wrong: dict[str, str], message: str
) -> None:
    client = log_in("release-manager")
    [found] = said(client.post(address(candidate), form(client, candidate, **wrong), follow=True))
    assert message in found
    assert found.endswith("Nothing changed.")
    assert not GradualActivation.objects.exists()


def test_an_operation_on_one_that_has_ended(log_in: LogIn, acme: World, candidate: Release) -> None:
    client = log_in("release-manager")
    client.post(address(candidate), form(client, candidate), follow=True)
    made = GradualActivation.objects.get()
    ending.withdraw(gradual.again(made), actor="user:eva", reason="slow")
    before = rows(Activation)
    operation = {"expected_release_version": "1.0", "operation_key": "k", "expected_step": "0", "reason": "why"}
    for name in ("_step", "_promote", "_withdraw"):
        [found] = said(client.post(address(candidate, name, made), operation, follow=True))
        assert found.startswith("GRADUAL_ACTIVATION_ENDED")
    other = making.active(acme.tenant, "1.0", pipeline_id="acme.other")
    for name in ("_step", "_promote", "_withdraw"):
        assert client.post(address(other, name, made), operation).status_code == 404
        assert client.get(address(candidate, name, made)).status_code == 405
    assert [row for row in rows(Activation) if row["pipeline_id"] != other.pipeline_id] == before


def test_who_activated_a_release_stays_after_a_step(log_in: LogIn, acme: World, candidate: Release) -> None:
    client = log_in("release-manager")
    client.post(address(candidate), form(client, candidate))
    page = client.get(page_of(candidate))
    assert page.context["activated"].kind == "activation"
    assert page.context["active"].kind == "gradual"
    assert ">candidate<" in "".join(page.text.split())


@cases("who", ["viewer", "operator"])
def test_others_see_the_numbers_and_no_form(log_in: LogIn, acme: World, candidate: Release, who: str) -> None:
    manager, client = log_in("release-manager"), log_in(who)
    assert "data-gradual-start" not in client.get(page_of(candidate)).text
    manager.post(address(candidate), form(manager, candidate))
    text = client.get(page_of(candidate)).text
    assert "data-evidence" in text
    assert "Withdraw 2.0" not in text
