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
from tests.admin.browsing import MARKUP, listed, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases

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
    ("state", "changes"),
    [
        ("STALE", {"alive_until": timezone.now() - timedelta(hours=1)}),
        ("DRAINED", {"draining_since": timezone.now()}),
        ("UNAVAILABLE", {"stopped_at": timezone.now()}),
    ],
)
def test_the_pages_show_the_state(state: str, changes: dict[str, Any], viewer: Client, acme: World) -> None:
    Worker.objects.filter(pk=acme.worker.pk).update(**changes)
    for address in (to(LIST), page(acme)):
        assert state in viewer.get(address).text


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
    assert [link in text, "not started" in text] == [True, False]
    Worker.objects.filter(pk=acme.worker.pk).update(capacity=4, holding=3, running=1, abandoned=1)
    text = viewer.get(page(acme)).text
    assert ["1 of its 4 threads still runs" in text, "3 held, 1 running" in text] == [True, True]


def test_the_page_of_a_rest_worker_shows_its_endpoint_and_whether_it_is_allowed(
    viewer: Client, acme: World, settings: Any
) -> None:
    settings.REST_WORKER_ORIGINS = ["https://orders.internal"]
    made = making.worker(acme.release, "rest-1", protocol="rest", endpoint="https://orders.internal/base")
    link = to("executions_execution_change", acme.execution)
    text = viewer.get(page(acme, made)).text
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
    assert [drain in client.get(page(busy)).text for client in (viewer, operator)] == [False, True]
    shown = operator.post(drain, {"reason": MARKUP}, follow=True)
    for text in ("DRAINING", "<strong>user:operator</strong> requested a drain", undrain):
        assert text in shown.text
    assert [drain in shown.text, MARKUP in shown.text] == [False, False]
    assert listed(viewer, "executions_worker")[0].eligibility.state == "DRAINING"
    assert "data-refusal" in operator.get(drain).text
    assert "HEALTHY" in operator.post(undrain, {"reason": "fixed"}, follow=True).text
    worker.refresh_from_db()
    assert worker.drained_by_operator_at is None
    assert [event.actor for event in worker.events.all()] == ["user:operator"] * 2


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
    registry.drain(busy.tenant, "acme.orders", "second", actor="user:ann")
    assert viewer.get(to(LIST)).context["fleets"][0]["fleet"].draining == 1


# --- the keys of a tenant's workers ---


def key_page(world: World, change: str) -> str:
    return to("tenancy_tenant_worker_key", world.tenant, change)


def test_a_tenants_admin_rotates_its_key_which_no_page_shows(log_in: LogIn, acme: World) -> None:
    client, slug, tenant = log_in("tenant-admin"), acme.tenant.slug, to("tenancy_tenant_change", acme.tenant)
    assert client.post(key_page(acme, "revoke-old"), {"reason": ""}).status_code == 409
    old = current_key(slug)
    confirmation = client.post(key_page(acme, "start"), {"reason": MARKUP}, follow=True).text
    new = current_key(slug)
    assert [key.key_id for key in active_keys(slug)] == [new.key_id, old.key_id]
    assert [new.key_id in confirmation, MARKUP in confirmation] == [True, False]
    for key in active_keys(slug):
        for address in (tenant, key_page(acme, "start"), key_page(acme, "replace")):
            assert key.text.partition(".")[2] not in client.get(address).text
    assert client.post(key_page(acme, "revoke-old"), {"reason": ""}).status_code == 302
    assert [key.key_id for key in active_keys(slug)] == [new.key_id]
    assert client.post(key_page(acme, "replace"), {"reason": "leaked"}).status_code == 302
    assert current_key(slug) not in (old, new)
    assert WorkerKeyChange.objects.filter(tenant=acme.tenant).count() == 3
