"""The page of a pipeline: the rollback in one step, what was active at a time, and the signed history."""

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from executions.models import Worker
from executions.workers.worker_gate import START
from releases.activation import policy
from releases.activation.activation import activate
from releases.models import Activation, Pipeline, Release
from tenancy.preferences import choose_zone
from tests import making, signing
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import run, unguarded
from wire.documents.signing import read_envelope


@pytest.fixture
def newer(acme: World) -> Release:
    """The active release, which replaced 1.0."""
    release = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    activate(release, actor="user:somebody", reason="faster")
    return release


def page_of(release: Release) -> str:
    return reverse("admin:releases_pipeline_change", args=[release.pipeline_id])


def address(release: Release) -> str:
    return reverse("admin:releases_pipeline_rollback", args=[release.pipeline_id])


def form_of(client: Client, release: Release) -> dict[str, str]:
    context = client.get(page_of(release)).context
    return {
        "release_version": context["rollback_target"].release_version,
        "expected_release_version": context["active"].release.release_version,
        "operation_key": context["rollback_key"],
        "reason": "It fails",
    }


def history(release: Release) -> list[Activation]:
    return list(Activation.objects.filter(pipeline=release.pipeline).order_by("sequence"))


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_on_call_rolls_back_in_one_step(log_in: LogIn, newer: Release) -> None:
    client = log_in("on-call")
    text = client.get(page_of(newer)).text
    assert "Roll back to 1.0" in text
    assert "Save policy" not in text
    form = form_of(client, newer)
    answer = client.post(address(newer), form, follow=True)
    made = history(newer)[-1]
    assert (made.release.release_version, made.kind, made.reason, made.actor) == (
        *("1.0", "rollback", "It fails"),
        "user:on-call",
    )
    assert said(answer) == ["Rolled back: release 1.0 is active for new executions of acme.orders."]
    assert "data-rollback>" not in answer.text
    client.post(address(newer), form)
    assert len(history(newer)) == 3


def test_a_warning_says_that_no_worker_hosts_the_release(log_in: LogIn, acme: World, newer: Release) -> None:
    making.silence(acme.worker)
    client = log_in("release-manager")
    found = said(client.post(address(newer), form_of(client, newer), follow=True))
    assert found[0].startswith("Rolled back")
    assert any(message.startswith("No healthy worker hosts it") for message in found)


@cases(
    ("wrong", "message"),
    [
        ({"reason": " "}, "A rollback requires a reason of at most 1,000 characters. Nothing changed."),
        ({"reason": "x" * 1001}, "A rollback requires a reason of at most 1,000 characters. Nothing changed."),
        ({"expected_release_version": "1.0"}, "ACTIVE_RELEASE_CHANGED"),
        ({"release_version": "2.0"}, "NO_ROLLBACK"),
        ({"release_version": "9.0"}, "RELEASE_UNKNOWN"),
    ],
)
def test_a_rejected_rollback_changes_nothing(
    wrong: dict[str, str], message: str, log_in: LogIn, newer: Release
) -> None:
    client = log_in("on-call")
    [found] = said(client.post(address(newer), {**form_of(client, newer), **wrong}, follow=True))
    assert message in found
    assert len(history(newer)) == 2


def test_only_a_release_manager_goes_further_back_than_the_policy_allows(
    log_in: LogIn, acme: World, newer: Release
) -> None:
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '31 days'")
    client = log_in("on-call")
    [found] = said(client.post(address(newer), form_of(client, newer), follow=True))
    assert found.startswith("ROLLBACK_TOO_FAR")
    policy = reverse("admin:releases_pipeline_policy", args=[newer.pipeline_id])
    for days in ("0", "3651", "x"):
        log_in("tenant-admin").post(policy, {"rollback_days": days})
    assert Pipeline.objects.get(pk=newer.pipeline_id).rollback_days == 30
    log_in("tenant-admin").post(policy, {"rollback_days": "40"})
    assert Pipeline.objects.get(pk=newer.pipeline_id).rollback_days == 40
    log_in("tenant-admin").post(policy, {"rollback_days": "20"})
    manager = log_in("release-manager")
    assert manager.post(address(newer), form_of(manager, newer)).status_code == 302
    assert history(newer)[-1].release == acme.release


@cases("who", ["viewer", "operator"])
def test_the_form_is_only_for_users_who_may_roll_back(who: str, log_in: LogIn, newer: Release) -> None:
    client = log_in(who)
    assert "data-rollback>" not in client.get(page_of(newer)).text
    assert client.post(address(newer), {"reason": "x"}).status_code == 403
    assert client.get(address(newer)).status_code == 405


def test_the_page_tells_what_was_active_at_a_time(log_in: LogIn, acme: World, newer: Release) -> None:
    client = log_in("viewer")
    first, second = history(newer)

    def ask(at: str) -> Any:
        return client.get(page_of(newer), {"at": at})

    then = ask(first.activated_at.isoformat()).context["active_then"]
    assert (then.activation, then.replaced_at) == (first, second.activated_at)
    answer = ask(second.activated_at.isoformat())
    assert answer.context["active_then"].activation == second
    assert "faster" in answer.text
    assert "No release of pipeline" in ask("2001-01-01T00:00:00Z").text
    assert "must not be in the future" in ask("2999-01-01T00:00:00Z").text
    assert "It must be a time such as 2026-01-31 14:00." in ask("<yesterday>").text
    choose_zone(User.objects.get(username="viewer"), "Asia/Kolkata")
    local = second.activated_at.astimezone(ZoneInfo("Asia/Kolkata"))
    assert ask(f"{local:%Y-%m-%d %H:%M:%S.%f}").context["active_then"].activation == second
    assert "<yesterday>" not in ask("<yesterday>").text


def test_the_history_is_downloaded_signed(log_in: LogIn, newer: Release, settings: Any) -> None:
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    client = log_in("viewer")
    download = reverse("admin:releases_pipeline_history_export", args=[newer.pipeline_id])
    assert download in client.get(page_of(newer)).text
    answer = client.get(download)
    assert answer.headers["Content-Disposition"].startswith("attachment")
    payload = json.loads(read_envelope(json.loads(answer.content)).payload)
    assert [each["reason"] for each in payload["predicate"]["activations"]] == ["", "faster"]
    assert client.post(download).status_code == 405
    assert log_in("stranger").get(download).status_code == 404
    assert log_in("nobody").get(download).status_code == 404
    settings.PROVENANCE_KEY = ""
    assert client.get(download).status_code == 404
    assert download not in client.get(page_of(newer)).text


def test_a_rollback_without_the_required_worker_changes_nothing(log_in: LogIn, acme: World, newer: Release) -> None:
    policy.change(newer.pipeline, {"workerGate": "require"}, actor="user:admin")
    making.silence(acme.worker)
    client = log_in("on-call")
    [message] = said(client.post(address(newer), form_of(client, newer), follow=True))
    assert message.startswith("WORKER_REQUIRED: No worker may run release '1.0': ")
    assert START in message
    assert history(newer)[-1].release == newer
    Worker.objects.filter(pk=acme.worker.pk).update(alive_until=None)
    client.post(address(newer), form_of(client, newer))
    assert history(newer)[-1].release == acme.release
