"""The pages of workers: what each runs and holds, its code, drains, the fleet; and the keys of a tenant's workers."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from executions.lifecycle import sweep
from executions.models import Execution, Worker, WorkerEligibility, WorkerKeyChange
from executions.state_machine import moves
from executions.workers import registry
from executions.workers.tenant_keys import active_keys, current_key
from tests import making
from tests.admin.browsing import INERT, MARKUP, listed, to, words
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import as_owner

LIST = "executions_worker_changelist"


def page(world: World, worker: Worker | None = None) -> str:
    return to("executions_worker_change", worker or world.worker)


@pytest.fixture
def busy(acme: World) -> World:
    """A world whose worker has one execution in hand."""
    assert len(making.claimed(acme.tenant)) == 1
    owner = WorkerEligibility.objects.get(pk=acme.worker.pk).lease_owner  # as the heartbeat sets it
    Execution.objects.filter(pk=acme.execution.pk).update(lease_owner=owner, lease_worker=acme.worker.worker_id)
    return acme


@cases(
    ("state", "changes", "artifact"),
    [
        ("HEALTHY", {}, ""),
        ("STALE", {"alive_until": timezone.now() - timedelta(hours=1)}, ""),
        ("DRAINING", {"draining_since": timezone.now(), "holding": 1}, ""),
        ("DRAINED", {"draining_since": timezone.now()}, ""),
        ("UNAVAILABLE", {"stopped_at": timezone.now()}, ""),
        ("HEALTHY", {"artifact_digest": "sha256:" + "0" * 64}, "another"),
        ("HEALTHY", {"release_version": "none"}, "no such release"),
    ],
)
def test_the_pages_show_the_state_and_the_artifact(
    state: str, changes: dict[str, Any], artifact: str, viewer: Client, acme: World
) -> None:
    Worker.objects.filter(pk=acme.worker.pk).update(**changes)
    response = viewer.get(to(LIST))
    labels = {label for label in ("as verified", "another", "no such release") if f"> {label} <" in spaced(response)}
    assert labels == ({artifact} if artifact else set())
    assert state in response.text
    assert state in viewer.get(page(acme)).text


def spaced(response: Any) -> str:
    """Return HTML with one space next to each tag."""
    return " ".join(response.text.replace("<", " <").replace(">", "> ").split())


@cases(
    ("code", "label", "alike"),
    [
        ("artifact", "the release&#x27;s artifact", "as required"),
        ("source", "unverified: a folder", "not compared"),
        ("image", "container image", "not compared"),
        ("", "not reported", "not compared"),
    ],
)
def test_the_pages_show_the_code_and_the_environment(
    code: str, label: str, alike: str, viewer: Client, acme: World
) -> None:
    assert "data-environment" not in viewer.get(page(acme)).text
    for differences in ([], ["b is <not> installed", "c is 1"]):
        environment: dict[str, Any] = {
            "python": "cpython 3.12.1",
            "platform": "linux-x86_64",
            "differences": differences,
        }
        environment["differenceCount"] = len(differences)
        Worker.objects.filter(pk=acme.worker.pk).update(
            code=code, environment_fingerprint="sha256:1234", environment=environment
        )
        response = viewer.get(to(LIST))
        assert (f"> {label} <" in spaced(response)) == bool(code)
        assert ("differs" if differences else alike) in response.text
        text = viewer.get(page(acme)).text
        for shown in (label, "cpython 3.12.1", "linux-x86_64", "sha256:1234"):
            assert shown in text
        assert ("b is &lt;not&gt; installed" in text) == ("data-drift" in text) == bool(differences)
        assert ("data-as-required" in text) == (code == "artifact" and not differences)
        assert ("which the policy of the pipeline refuses" in text) == (code == "source")


def test_the_page_shows_its_started_executions_and_threads(viewer: Client, acme: World) -> None:
    [claim] = making.claimed(acme.tenant)
    link = to("executions_execution_change", acme.execution)
    assert link not in viewer.get(page(acme)).text
    held = [(claim.execution_id, claim.lease_token)]
    renewal: dict[str, Any] = {"worker_id": acme.worker.worker_id, "lease_seconds": 30}
    moves.renew_leases(acme.tenant.pk, held, **renewal)
    assert "not started" in viewer.get(page(acme)).text
    moves.renew_leases(acme.tenant.pk, held, **renewal, running={claim.lease_token: 5})
    text = viewer.get(page(acme)).text
    assert link in text
    for absent in ("not started", "data-abandoned"):
        assert absent not in text
    assert "accepting work; 0 held, 0 running" in text
    for abandoned, phrase in ((1, "threads still runs a transition"), (2, "threads still run transitions")):
        counts = {"capacity": 4, "holding": 3, "running": 1, "abandoned": abandoned}
        Worker.objects.filter(pk=acme.worker.pk).update(**counts)
        text = viewer.get(page(acme)).text
        assert f"{abandoned} of its 4 {phrase}" in text
        assert "accepting work; 3 held, 1 running" in text


def test_the_page_of_a_rest_worker_shows_its_endpoint_and_whether_it_is_allowed(
    viewer: Client, acme: World, settings: Any
) -> None:
    settings.REST_WORKER_ORIGINS = ["https://orders.internal"]
    made = making.worker(acme.release, "rest-1", protocol="rest", endpoint="https://orders.internal/base")
    link = to("executions_execution_change", acme.execution)
    text = viewer.get(page(acme, made)).text
    assert "https://orders.internal/base" in text
    assert [link in text, "data-not-called" in text] == [False, False]
    [claim] = making.claimed(acme.tenant)
    Execution.objects.filter(pk=claim.execution_id).update(lease_owner=made.eligibility.lease_owner)
    assert link in viewer.get(page(acme, made)).text
    settings.REST_WORKER_ORIGINS = []
    assert sweep.endpoints() == 1
    assert "data-not-called" in viewer.get(page(acme, made)).text


# --- drains ---


def test_a_drain_is_shown_with_its_actor_and_reason_until_it_ends(
    viewer: Client, operator: Client, busy: World
) -> None:
    worker, drain, undrain = (
        busy.worker,
        *(to(f"executions_worker_{act}", busy.worker) for act in ("drain", "undrain")),
    )
    text = viewer.get(page(busy)).text
    assert "These roles may: operator, on-call, tenant admin." in text
    assert [drain in text, drain in operator.get(page(busy)).text] == [False, True]
    assert "until it is undrained" in operator.get(drain).text
    shown = operator.post(drain, {"reason": MARKUP}, follow=True)
    for text in ("DRAINING", "<strong>user:operator</strong> requested a drain", "OPERATOR_DRAINED", undrain):
        assert text in shown.text
    assert "It finishes the 1 execution that it has in hand" in words(shown)
    assert [drain in shown.text, MARKUP in shown.text, shown.text.count(INERT)] == [False, False, 2]
    assert "DRAINED" not in shown.text.split("data-worker-events")[0]
    assert listed(viewer, "executions_worker")[0].eligibility.state == "DRAINING"
    assert "by an operator, " in viewer.get(to(LIST), {"state": "DRAINING"}).text
    assert "data-refusal" in operator.get(drain).text
    shown = operator.post(undrain, {"reason": "fixed"}, follow=True)
    assert "may get work again" in shown.text
    assert "HEALTHY" in shown.text
    worker.refresh_from_db()
    assert worker.drained_by_operator_at is None
    assert [event.actor for event in worker.events.all()] == ["user:operator"] * 2
    idle = making.worker(busy.release, "idle")
    shown = operator.post(to("executions_worker_drain", idle), {"reason": "update"}, follow=True)
    assert "It has nothing in hand and accepts no new executions." in words(shown)
    assert "DRAINED" in viewer.get(page(busy, idle)).text


# --- the list with the fleet ---


def test_the_fleet_adds_up_the_workers_of_each_release(
    log_in: LogIn, viewer: Client, busy: World, globex: World
) -> None:
    making.worker(busy.release, "second", capacity=3)
    making.silence(making.worker(busy.release, "silent", capacity=3))
    rows = {row.worker_id: row.in_hand for row in listed(viewer, "executions_worker")}
    assert rows == {"worker-of-acme": 1, "second": 0, "silent": 0}
    found = viewer.get(page(busy)).context
    assert found["in_hand"] == len(found["running"]) == 1
    answer = viewer.get(to(LIST))
    [line] = answer.context["fleets"]
    fleet, query = line["fleet"], line["query"]
    for state, count in (("HEALTHY", 2), ("STALE", 1)):
        assert f'href="?{query.replace("&", "&amp;")}&amp;state={state}"' in answer.text
        assert len(listed(viewer, "executions_worker", f"{query}&state={state}")) == count
    assert (fleet.pipeline_id, fleet.release_id, line["differing"]) == ("acme.orders", busy.release.pk, 0)
    assert (fleet.healthy, fleet.draining, fleet.silent, fleet.capacity, fleet.in_hand) == (2, 0, 1, 13, 1)
    assert len(log_in("superuser").get(to(LIST)).context["fleets"]) == 2
    with as_owner():
        Worker.objects.filter(pk=busy.worker.pk).update(artifact_digest="sha256:" + "0" * 64)
    [line] = viewer.get(to(LIST)).context["fleets"]
    assert line["differing"] == 1
    assert listed(viewer, "executions_worker", f"{query}&drift=yes") == [busy.worker]
    registry.drain(busy.tenant, "acme.orders", "second", actor="user:ann")
    assert viewer.get(to(LIST)).context["fleets"][0]["fleet"].draining == 1


# --- the keys of a tenant's workers ---


def key_page(world: World, change: str) -> str:
    return to("tenancy_tenant_worker_key", world.tenant, change)


def test_a_tenants_admin_rotates_its_key_which_no_page_shows(log_in: LogIn, acme: World) -> None:
    client, slug, tenant = log_in("tenant-admin"), acme.tenant.slug, to("tenancy_tenant_change", acme.tenant)
    refused = client.post(key_page(acme, "revoke-old"), {"reason": ""})
    assert (refused.status_code, "WORKER_KEY_CHANGE_REFUSED" in refused.text) == (409, True)
    assert client.get(key_page(acme, "forget")).status_code == 404
    old = current_key(slug)
    assert old.key_id in client.get(key_page(acme, "start")).text
    confirmation = client.post(key_page(acme, "start"), {"reason": MARKUP}, follow=True).text
    new = current_key(slug)
    assert [key.key_id for key in active_keys(slug)] == [new.key_id, old.key_id]
    assert new.key_id in confirmation
    assert MARKUP not in confirmation
    assert INERT in client.get(tenant).text
    for key in active_keys(slug):
        for address in (tenant, key_page(acme, "start"), key_page(acme, "replace")):
            assert key.text.partition(".")[2] not in client.get(address).text
    assert client.post(key_page(acme, "revoke-old"), {"reason": ""}).status_code == 302
    assert [key.key_id for key in active_keys(slug)] == [new.key_id]
    assert client.post(key_page(acme, "replace"), {"reason": "leaked"}).status_code == 302
    assert current_key(slug) not in (old, new)
    assert WorkerKeyChange.objects.filter(tenant=acme.tenant).count() == 3
