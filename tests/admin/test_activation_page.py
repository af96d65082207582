"""The confirmation page of an activation."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from executions.models import Worker
from executions.workers.worker_gate import START
from releases.activation import policy
from releases.activation.activation import activate
from releases.models import Activation, Pipeline, Release
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases

STEPS = (making.STEP, {**making.STEP, "index": 1, "authoredName": "Screen"})


@pytest.fixture
def newer(acme: World) -> Release:
    return making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")


def address(release: Release) -> str:
    return reverse("admin:releases_release_activate", args=[release.pk])


def form_of(client: Client, release: Release) -> dict[str, str]:
    """Return the fields of the form on the page."""
    page = client.get(address(release))
    assert page.status_code == 200
    active = page.context["active"]
    return {
        "expected_release_version": active.release_version if active else "",
        "operation_key": page.context["operation_key"],
        "reason": "",
    }


def history(release: Release) -> list[Activation]:
    return list(Activation.objects.filter(pipeline=release.pipeline).order_by("sequence"))


def test_the_page_shows_what_changes(log_in: LogIn, acme: World, newer: Release) -> None:
    text = log_in("release-manager").get(address(newer)).text
    assert "New executions of <strong>acme.orders</strong> in tenant <strong>acme</strong>" in text
    assert "stay on the release that they are pinned to" in text
    assert "Executions that stay on 1.0</dt><dd>1 live" in text
    assert "The code differs. What clients and parked work see of it is in the contract." in text


def test_an_activation_appears_in_the_history_with_actor_and_reason(log_in: LogIn, newer: Release) -> None:
    client = log_in("release-manager")
    answer = client.post(address(newer), {**form_of(client, newer), "reason": " It is time. "})
    assert answer.status_code == 302
    made = history(newer)[-1]
    assert (made.release, made.reason, made.actor) == (newer, "It is time.", "user:release-manager")
    page = client.get(answer["Location"]).text
    assert "It is time." in page
    assert "user:release-manager" in page


def test_a_repeated_post_is_the_same_activation(log_in: LogIn, newer: Release) -> None:
    client = log_in("release-manager")
    form = form_of(client, newer)
    first, second = client.post(address(newer), form), client.post(address(newer), form)
    assert first["Location"] == second["Location"]
    assert len(history(newer)) == 2


def test_an_activation_is_rejected_if_another_release_has_become_active(
    log_in: LogIn, acme: World, newer: Release
) -> None:
    client = log_in("release-manager")
    form = form_of(client, newer)
    other = making.registered(acme.tenant, "3.0", pipeline_id="acme.orders")
    activate(other, actor="user:somebody")
    answer = client.post(address(newer), {**form, "reason": "mine"})
    assert answer.status_code == 409
    assert "ACTIVE_RELEASE_CHANGED" in answer.text
    assert 'name="expected_release_version" value="3.0"' in answer.text
    assert ">mine</textarea>" in answer.text
    assert "This is a rollback" not in answer.text
    assert history(newer)[-1].release == other
    again = {**form, "expected_release_version": "3.0", "operation_key": answer.context["operation_key"]}
    assert client.post(address(newer), again).status_code == 302
    assert history(newer)[-1].release == newer


def test_a_rollback_is_displayed_as_one(log_in: LogIn, acme: World, newer: Release) -> None:
    activate(newer, actor="user:somebody")
    client = log_in("release-manager")
    assert "Roll back to 1.0" in client.get(address(acme.release)).text
    assert client.post(address(acme.release), form_of(client, acme.release)).status_code == 422
    answer = client.post(address(acme.release), {**form_of(client, acme.release), "reason": "It fails"})
    assert "This is a rollback" in client.get(answer["Location"]).text
    assert history(newer)[-1].is_rollback


def test_a_required_reason_must_be_entered(log_in: LogIn, newer: Release) -> None:
    Pipeline.objects.filter(pk=newer.pipeline_id).update(reason_required=True)
    client = log_in("release-manager")
    form = form_of(client, newer)
    answer = client.post(address(newer), form)
    assert answer.status_code == 422
    assert "REASON_REQUIRED" in answer.text
    assert len(history(newer)) == 1
    assert client.post(address(newer), {**form, "reason": "Because"}).status_code == 302


@cases("wrong", [{"reason": "x" * 1001}, {"reason": "a\0b"}, {"operation_key": ""}, {"operation_key": "k" * 201}])
def test_an_invalid_form_is_rejected(wrong: dict[str, str], log_in: LogIn, newer: Release) -> None:
    client = log_in("release-manager")
    assert client.post(address(newer), {**form_of(client, newer), **wrong}).status_code == 400
    assert len(history(newer)) == 1


@cases(("who", "status"), [("viewer", 403), ("operator", 403), ("stranger", 404), ("nobody", 404)])
def test_a_user_who_may_not_activate_changes_nothing(who: str, status: int, log_in: LogIn, newer: Release) -> None:
    form = {"expected_release_version": "1.0", "operation_key": "key", "reason": "because"}
    assert log_in(who).post(address(newer), form).status_code == status
    assert len(history(newer)) == 1


def test_an_activation_requires_a_csrf_token(log_in: LogIn, newer: Release) -> None:
    client = log_in("release-manager", enforce_csrf_checks=True)
    form = {"expected_release_version": "1.0", "operation_key": "key", "reason": ""}
    assert client.post(address(newer), form).status_code == 403
    assert len(history(newer)) == 1


def test_a_release_that_is_not_registered_cannot_be_activated(log_in: LogIn, acme: World) -> None:
    contract = making.contract("acme.orders")
    pending = making.upload(acme.tenant, making.descriptor(contract, b"x", "9.0")).release
    client = log_in("release-manager")
    page = client.get(address(pending))
    assert page.status_code == 409
    assert "Only a registered release can be activated" in page.text
    form = {"expected_release_version": "1.0", "operation_key": "key", "reason": ""}
    assert client.post(address(pending), form).status_code == 409
    assert len(history(pending)) == 1


def test_the_page_names_the_changed_steps(log_in: LogIn, acme: World) -> None:
    changed = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", steps=STEPS)
    page = log_in("release-manager").get(address(changed))
    added = page.context["differences"][0]
    assert (added.area, added.kind, added.path, added.impact) == ("step", "added", 'steps["Screen"]', "compatible")
    assert "steps[&quot;Screen&quot;]" in page.text


WORKERS: dict[str, tuple[dict[str, Any], str]] = {
    "stopped": ({"stopped_at": timezone.now()}, "No healthy worker hosts it"),
    "draining": ({"draining_since": timezone.now()}, "No healthy worker hosts it"),
    "silent": ({"last_heartbeat_at": timezone.now() - timedelta(hours=1)}, "Silent workers"),
    "of another artifact": ({"artifact_digest": "sha256:" + "0" * 64}, "Workers with another artifact"),
}


def warnings(client: Client, release: Release) -> list[str]:
    """Return the labels of the warnings about workers."""
    found = client.get(address(release)).context["found"].warnings
    return [caution.detail.partition(":")[0] for caution in found if caution.concern == "workers"]


@cases("kind", WORKERS)
def test_the_page_warns_of_workers_that_get_no_work(kind: str, log_in: LogIn, newer: Release) -> None:
    members, label = WORKERS[kind]
    making.worker(newer, "new-worker", **members)
    client = log_in("release-manager")
    found = warnings(client, newer)
    assert label in found
    assert "No healthy worker hosts it" in found
    assert "Workers that may run it</dt><dd>0, with room for 0 at a time" in client.get(address(newer)).text


def test_the_page_shows_the_workers_of_the_release(log_in: LogIn, newer: Release) -> None:
    making.worker(newer, "new-worker", capacity=7)
    client = log_in("release-manager")
    assert warnings(client, newer) == []
    assert "Workers that may run it</dt><dd>1, with room for 7 at a time" in client.get(address(newer)).text


def test_workers_of_other_releases_are_not_counted(log_in: LogIn, newer: Release) -> None:
    assert Worker.objects.filter(release_version="1.0").exists()
    assert warnings(log_in("release-manager"), newer) == ["No healthy worker hosts it"]


def test_an_activation_without_the_required_worker_cannot_be_confirmed(log_in: LogIn, newer: Release) -> None:
    policy.change(newer.pipeline, {"workerGate": "require"}, actor="user:admin")
    client = log_in("release-manager")
    page = client.get(address(newer))
    [refusing] = page.context["refusing"]
    assert (refusing.name, START in refusing.detail) == ("worker", True)
    assert 'type="submit" class' in page.text
    assert 'disabled aria-describedby="refusing"' in page.text
    assert f"No worker lifecycle record for this release. Start one, for example with `{START}`." in page.text
    answer = client.post(address(newer), form_of(client, newer))
    assert (answer.status_code, 'data-problem="WORKER_REQUIRED"' in answer.text) == (409, True)
    assert len(history(newer)) == 1
    making.worker(newer, "new-worker")
    page = client.get(address(newer))
    assert page.context["refusing"] == []
    assert "aria-describedby" not in page.text.partition('id="activate-form"')[2]
    assert client.post(address(newer), form_of(client, newer)).status_code == 302


@cases(("value", "shown"), [("warn", True), ("off", False)])
def test_other_policies_only_warn_of_a_missing_worker(value: str, shown: bool, log_in: LogIn, newer: Release) -> None:
    policy.change(newer.pipeline, {"workerGate": value}, actor="user:admin")
    client = log_in("release-manager")
    page = client.get(address(newer))
    gates = [gate.name for gate in page.context["found"].gates if gate.verdict == "warning"]
    assert ("worker" in gates, page.context["refusing"]) == (shown, [])
    assert client.post(address(newer), form_of(client, newer)).status_code == 302


def test_the_page_says_that_the_policy_refuses_the_activation(log_in: LogIn, newer: Release) -> None:
    Pipeline.objects.filter(pk=newer.pipeline_id).update(worker_gate="require")
    client = log_in("release-manager")
    page = client.get(address(newer)).text
    assert 'data-refusal="WORKER_REQUIRED"' in page
    assert "Start one, for example with `pipelines worker" in page
    making.worker(newer, "new-worker")
    page = client.get(address(newer)).text
    assert "data-refusal" not in page
    assert "data-warning" not in page
    assert "worker: A worker may run release" in page


def test_the_page_names_the_callers_whose_inputs_would_be_refused(log_in: LogIn, acme: World) -> None:
    field = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
    types = {"Order": {"definition": {"id": "Order", "kind": "record", "fields": [field]}}}
    strict = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", canonicalTypes=types)
    page = log_in("release-manager").get(address(strict)).text
    assert "1 of 1 would be refused" in page
    execution = reverse("admin:executions_execution_change", args=[acme.execution.pk])
    assert f'href="{execution}">input.price</a> is required' in page


def test_the_page_links_what_the_old_release_still_runs(log_in: LogIn, acme: World, newer: Release) -> None:
    client = log_in("release-manager")
    [line] = client.get(address(newer)).context["section"]["remaining"]
    assert (line["label"], line["count"]) == ("Queued executions", 1)
    listed = client.get(line["href"])
    assert listed.status_code == 200
    assert str(acme.execution.pk) in listed.text
