import pytest
from django.test import Client

from executions.models import Execution, WorkerEligibility, WorkerKeyChange
from executions.state_machine import moves
from executions.workers.tenant_keys import active_keys, current_key
from tests import making
from tests.admin.browsing import MARKUP, listed, to
from tests.admin.conftest import LogIn, World


@pytest.fixture
def busy(acme: World) -> World:
    """A world whose worker has one execution in hand."""
    assert len(making.claimed(acme.tenant)) == 1
    owner = WorkerEligibility.objects.get(pk=acme.worker.pk).lease_owner  # as the heartbeat sets it
    Execution.objects.filter(pk=acme.execution.pk).update(lease_owner=owner, lease_worker=acme.worker.worker_id)
    return acme


def test_the_page_of_a_worker_shows_only_its_own_executions(viewer: Client, acme: World) -> None:
    making.worker(acme.release, "another")
    own, others = acme.execution, making.execution(acme.tenant, "of-another", pipeline_id="acme.orders")
    for claim in making.claimed(acme.tenant):
        name = acme.worker.worker_id if claim.execution_id == own.pk else "another"
        held = [(claim.execution_id, claim.lease_token)]
        moves.renew_leases(acme.tenant.pk, held, worker_id=name, lease_seconds=30)
    text = viewer.get(to("executions_worker_change", acme.worker)).text
    assert str(own.pk) in text
    assert str(others.pk) not in text


def test_a_drain_is_shown_with_its_actor_and_reason_until_it_ends(
    viewer: Client, operator: Client, busy: World
) -> None:
    worker = busy.worker
    drain, undrain = (to(f"executions_worker_{act}", worker) for act in ("drain", "undrain"))
    page = to("executions_worker_change", worker)
    assert [drain in client.get(page).text for client in (viewer, operator)] == [False, True]
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
