"""Whoever makes a release active that is breaking for callers types its version. Each form demands it."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from releases.activation.activation import activate
from releases.models import Activation, ActivationRequest, GradualActivation, Release
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.requesting import soon

FIELD = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
PIPELINE = "acme.prices"


def types(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


WRONG = ("", "1.0", "2.0.0", "2", "2,0")


@pytest.fixture
def breaking(acme: World) -> Release:
    """A release whose inputs need a field that inputs of 1.0 do not have."""
    making.active(acme.tenant, "1.0", pipeline_id=PIPELINE, canonicalTypes=types())
    return making.registered(acme.tenant, "2.0", pipeline_id=PIPELINE, canonicalTypes=types(FIELD))


def address(name: str, *arguments: Any) -> str:
    return reverse(f"admin:releases_{name}", args=arguments)


def confirmation(client: Client, release: Release, **more: str) -> dict[str, str]:
    """Return the fields of the page that activates the release."""
    context = client.get(address("release_activate", release.pk)).context
    active = context["active"].release_version
    return {"expected_release_version": active, "operation_key": context["operation_key"], "reason": "new", **more}


def active_version(release: Release) -> str:
    return Activation.objects.filter(pipeline=release.pipeline).latest("sequence").release.release_version


@cases("typed", WRONG)
def test_an_activation_is_refused_until_the_version_is_typed(typed: str, log_in: LogIn, breaking: Release) -> None:
    client = log_in("release-manager")
    assert "data-typed-version" in client.get(address("release_activate", breaking.pk)).text
    form = confirmation(client, breaking, typed_version=typed)
    answer = client.post(address("release_activate", breaking.pk), form)
    assert answer.status_code == 400
    assert "Type its version, 2.0, to confirm that you want it." in answer.text
    assert active_version(breaking) == "1.0"
    answer = client.post(address("release_activate", breaking.pk), {**form, "typed_version": " 2.0 "})
    assert answer.status_code == 302
    assert active_version(breaking) == "2.0"
    assert client.post(address("release_activate", breaking.pk), {**form, "typed_version": ""}).status_code == 302
    assert Activation.objects.filter(release=breaking).count() == 1


def test_a_compatible_release_needs_no_typed_version(log_in: LogIn, acme: World) -> None:
    other = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    client = log_in("release-manager")
    assert "data-typed-version" not in client.get(address("release_activate", other.pk)).text
    assert client.post(address("release_activate", other.pk), confirmation(client, other)).status_code == 302


def test_a_request_is_refused_until_the_version_is_typed(log_in: LogIn, breaking: Release) -> None:
    client = log_in("release-manager")
    form = confirmation(client, breaking, activate_at=soon().isoformat())
    answer = client.post(address("release_request", breaking.pk), form, follow=True)
    assert "Type its version, 2.0" in answer.text
    assert not ActivationRequest.objects.exists()
    answer = client.post(address("release_request", breaking.pk), {**form, "typed_version": "2.0"}, follow=True)
    assert ActivationRequest.objects.get().release == breaking
    assert "data-breaking" in answer.text
    assert "new executions of acme.prices run 2.0 instead of 1.0." in answer.text


def test_a_gradual_activation_is_refused_until_the_version_is_typed(log_in: LogIn, breaking: Release) -> None:
    client = log_in("release-manager")
    context = client.get(address("pipeline_change", breaking.pipeline_id)).context
    form = {
        **{"expected_release_version": "1.0", "operation_key": context["gradual_key"], "release_version": "2.0"},
        **{"steps": "5 50 10", "tags": "", "tokens": "", "reason": "new"},
        **{"failure_percentage_points": "5", "duration_factor": "1.5", "significance": "0.001"},
    }
    answer = client.post(address("pipeline_gradual", breaking.pipeline_id), form, follow=True)
    assert "Type its version, 2.0" in answer.text
    assert not GradualActivation.objects.exists()
    client.post(address("pipeline_gradual", breaking.pipeline_id), {**form, "typed_version": "2.0"})
    assert GradualActivation.objects.get().candidate == breaking


def test_a_rollback_is_refused_until_the_version_is_typed(log_in: LogIn, acme: World) -> None:
    old = making.active(acme.tenant, "0.9", pipeline_id=PIPELINE, canonicalTypes=types(FIELD))
    newest = making.registered(acme.tenant, "1.1", pipeline_id=PIPELINE, canonicalTypes=types())
    activate(newest, actor="user:test")
    client = log_in("on-call")
    page = client.get(address("pipeline_change", old.pipeline_id))
    assert 'id="rollback-version"' in page.text
    form = {
        **{"release_version": "0.9", "expected_release_version": "1.1"},
        **{"operation_key": page.context["rollback_key"], "reason": "it fails"},
    }
    answer = client.post(address("pipeline_rollback", old.pipeline_id), form, follow=True)
    assert "Type its version, 0.9" in answer.text
    assert active_version(old) == "1.1"
    client.post(address("pipeline_rollback", old.pipeline_id), {**form, "typed_version": "0.9"})
    assert active_version(old) == "0.9"


def test_pages_say_which_roles_may_do_what_the_user_may_not(log_in: LogIn, breaking: Release) -> None:
    activate(breaking, actor="user:test", reason="new")
    first = breaking.pipeline.releases.get(release_version="1.0")
    roles = "These roles may: release manager, tenant admin."
    client = log_in("viewer")
    text = client.get(address("pipeline_change", breaking.pipeline_id)).text
    assert "These roles may: on-call, release manager, tenant admin." in text
    assert "data-rollback>" not in text
    form = confirmation(log_in("release-manager"), first, activate_at=soon().isoformat(), typed_version="1.0")
    log_in("release-manager").post(address("release_request", first.pk), form)
    text = client.get(address("activationrequest_change", ActivationRequest.objects.get().pk)).text
    assert text.count(roles) == 1, "the request is approved, so nobody votes"
    assert "<form" not in text.partition("data-votes")[2].partition("</main>")[0]
