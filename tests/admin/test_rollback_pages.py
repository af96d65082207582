"""The page of a pipeline: the rollback in one step, what was active at a time, and the signed history."""

import json
from typing import Any

import pytest
from django.test import Client

from releases.activation import policy
from releases.activation.activation import activate
from releases.models import Activation, Release
from tests import making, signing
from tests.admin.browsing import said, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from wire.documents.signing import read_envelope


@pytest.fixture
def newer(newer: Release) -> Release:
    """The active release, which replaced 1.0."""
    activate(newer, actor="user:somebody", reason="faster")
    return newer


def page_of(release: Release) -> str:
    return to("releases_pipeline_change", release.pipeline_id)


def roll_back(client: Client, release: Release, **changes: str) -> list[str]:
    """Send the form of the page. Return the messages of the page that follows."""
    context = client.get(page_of(release)).context
    fields = {
        "release_version": context["rollback_target"].release_version,
        "expected_release_version": context["active"].release.release_version,
        **{"operation_key": context["rollback_key"], "reason": "It fails", **changes},
    }
    return said(client.post(to("releases_pipeline_rollback", release.pipeline_id), fields, follow=True))


def history(release: Release) -> list[Activation]:
    return list(Activation.objects.filter(pipeline=release.pipeline).order_by("sequence"))


def test_on_call_rolls_back_in_one_step(log_in: LogIn, newer: Release) -> None:
    client = log_in("on-call")
    assert "Roll back to 1.0" in client.get(page_of(newer)).text
    assert "data-rollback>" not in log_in("operator").get(page_of(newer)).text
    form = {"operation_key": "k", "release_version": "1.0", "expected_release_version": "2.0", "reason": "It fails"}
    address = to("releases_pipeline_rollback", newer.pipeline_id)
    answers = [client.post(address, form, follow=True) for _ in range(2)]
    assert said(answers[0]) == ["Rolled back: release 1.0 is active for new executions of acme.orders."]
    assert len(history(newer)) == 3
    made = history(newer)[-1]
    assert (made.release.release_version, made.kind, made.actor) == ("1.0", "rollback", "user:on-call")
    assert made.reason == "It fails"


@cases(
    ("wrong", "message"),
    [
        ({"reason": " "}, "A rollback requires a reason of at most 1,000 characters. Nothing changed."),
        ({"expected_release_version": "1.0"}, "ACTIVE_RELEASE_CHANGED"),
        ({"release_version": "2.0"}, "NO_ROLLBACK"),
    ],
)
def test_a_rejected_rollback_changes_nothing(
    wrong: dict[str, str], message: str, log_in: LogIn, newer: Release
) -> None:
    [found] = roll_back(log_in("on-call"), newer, **wrong)
    assert message in found
    assert len(history(newer)) == 2


def test_a_rollback_to_a_release_without_a_worker_warns_or_is_refused(
    log_in: LogIn, acme: World, newer: Release
) -> None:
    making.silence(acme.worker)
    client = log_in("on-call")
    policy.change(newer.pipeline, {"workerGate": "require"}, actor="user:admin")
    [message] = roll_back(client, newer)
    assert message.startswith("WORKER_REQUIRED")
    assert history(newer)[-1].release == newer
    policy.change(newer.pipeline, {"workerGate": "warn"}, actor="user:admin")
    found = roll_back(client, newer)
    assert found[0].startswith("Rolled back")
    assert any(message.startswith("No healthy worker hosts it") for message in found)


def test_the_history_is_downloaded_signed(log_in: LogIn, newer: Release, settings: Any) -> None:
    client, download = log_in("viewer"), to("releases_pipeline_history_export", newer.pipeline_id)
    settings.PROVENANCE_KEY = ""
    assert client.get(download).status_code == 404
    assert download not in client.get(page_of(newer)).text
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    answer = client.get(download)
    payload = json.loads(read_envelope(json.loads(answer.content)).payload)
    assert [each["reason"] for each in payload["predicate"]["activations"]] == ["", "faster"]
