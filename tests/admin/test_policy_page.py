"""The policy of a pipeline in the admin."""

from typing import Any

from django.urls import reverse

from releases.activation import policy
from releases.activation.policy import MEMBERS
from releases.models import MissingArtifacts, Pipeline
from tests.admin.conftest import LogIn, World
from tests.cases import cases


def test_tenant_admins_change_the_policy_within_its_rules(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:releases_pipeline_policy", args=[acme.release.pipeline_id])
    client = log_in("tenant-admin")
    shown = client.post(address, {"signature_policy": "require"}, follow=True).text
    assert "A release can be activated only if a trusted key signed it" in shown
    assert Pipeline.objects.get(pk=acme.release.pipeline_id).signature_policy == "require"
    shown = client.post(address, {"unverified_workers": "allow"}, follow=True).text
    assert "Workers that host code from a folder get work" in shown
    assert Pipeline.objects.get(pk=acme.release.pipeline_id).unverified_workers == "allow"
    shown = client.post(address, {"worker_gate": "warn"}, follow=True).text
    assert "A release that no worker may run can be activated, with a warning" in shown
    assert Pipeline.objects.get(pk=acme.release.pipeline_id).worker_gate == "warn"
    shown = client.post(address, {"missing_artifacts": "identity-only"}, follow=True).text
    assert "A release whose bytes cannot be had is registered, and only identifies them" in shown
    assert Pipeline.objects.get(pk=acme.release.pipeline_id).missing_artifacts == "identity-only"
    for wrong in (
        {"signature_policy": "perhaps"},
        {"worker_gate": "perhaps"},
        {"unverified_workers": "perhaps"},
        {"missing_artifacts": "perhaps"},
    ):
        assert "Nothing changed" in client.post(address, wrong, follow=True).text
    client.post(address, {"reason_required": "on"})
    saved = Pipeline.objects.get(pk=acme.release.pipeline_id)
    assert (saved.signature_policy, saved.worker_gate, saved.unverified_workers) == ("require", "warn", "allow")
    assert (saved.missing_artifacts, saved.reason_required) == ("identity-only", True)


def test_the_page_of_a_pipeline_shows_the_policy_to_those_who_may_not_change_it(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])
    for value in ("reject", "identity-only"):
        policy.change(acme.release.pipeline, {"missingArtifacts": value}, actor="user:x")
        viewer, admin = log_in("viewer").get(address).text, log_in("tenant-admin").get(address).text
        assert f'data-member="missingArtifacts">{MissingArtifacts(value).label}<' in viewer
        assert 'name="missing_artifacts"' not in viewer
        [option] = [line for line in admin.split("<option") if f'value="{value}"' in line]
        assert "selected" in option


def test_a_get_request_does_not_change_the_policy(log_in: LogIn, acme: World) -> None:
    pipeline = policy.change(acme.release.pipeline, {"reasonRequired": True}, actor="user:x")
    address = reverse("admin:releases_pipeline_policy", args=[pipeline.pk])
    assert log_in("tenant-admin").get(address).status_code == 405
    assert Pipeline.objects.get(pk=pipeline.pk).reason_required


def test_members_that_the_form_does_not_send_do_not_change(log_in: LogIn, acme: World) -> None:
    pipeline = policy.change(
        acme.release.pipeline, {"retryLimit": 5, "rollBackDays": 7, "reasonRequired": True}, actor="user:x"
    )
    address = reverse("admin:releases_pipeline_policy", args=[pipeline.pk])
    log_in("tenant-admin").post(address, {"signature_policy": "warn"})
    saved = Pipeline.objects.get(pk=pipeline.pk)
    assert (saved.signature_policy, saved.retry_limit, saved.rollback_days, saved.reason_required) == (
        "warn",
        5,
        7,
        True,
    )


@cases(
    ("sent", "saved"),
    [
        ({"reason_required": ["off", "on"]}, {"reason_required": True}),
        ({"reason_required": ["off"]}, {"reason_required": False}),
        ({"validate_answers": ["off"]}, {"validate_answers": False}),
        ({"retry_limit": "0", "retry_multiplier": "1.5"}, {"retry_limit": 0, "retry_multiplier": 1.5}),
        ({"retry_limit": ""}, {"retry_limit": None}),
        ({"rollback_days": ""}, {"rollback_days": 30}),
    ],
)
def test_the_form_sends_flags_and_numbers(
    log_in: LogIn, acme: World, sent: dict[str, Any], saved: dict[str, Any]
) -> None:
    """A check box that is not checked sends only `off`. An empty number is the default."""
    pipeline = policy.change(acme.release.pipeline, {"retryLimit": 5}, actor="user:x")
    log_in("tenant-admin").post(reverse("admin:releases_pipeline_policy", args=[pipeline.pk]), sent)
    found = Pipeline.objects.get(pk=pipeline.pk)
    assert {name: getattr(found, name) for name in saved} == saved


@cases(
    "wrong", [{"rollback_days": "0"}, {"rollback_days": "x"}, {"retry_limit": "1.5"}, {"reason_required": "perhaps"}]
)
def test_an_invalid_value_changes_nothing(log_in: LogIn, acme: World, wrong: dict[str, str]) -> None:
    before = Pipeline.objects.values().get(pk=acme.release.pipeline_id)
    address = reverse("admin:releases_pipeline_policy", args=[acme.release.pipeline_id])
    answer = log_in("tenant-admin").post(address, {"signature_policy": "require", **wrong}, follow=True)
    assert "Nothing changed" in answer.text
    assert Pipeline.objects.values().get(pk=acme.release.pipeline_id) == before


def test_the_page_shows_each_member(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])
    viewer, admin = log_in("viewer").get(address).text, log_in("tenant-admin").get(address).text
    for member in MEMBERS:
        assert f'data-member="{member.name}"' in viewer
        assert f'name="{member.column}"' in admin
