"""The tenant's page shows which worker keys are active and who changed them, and changes them."""

from django.urls import reverse

from executions.models import WorkerKeyChange
from executions.workers.tenant_keys import active_keys, current_key
from tenancy.models import Tenant
from tests.admin.conftest import LogIn, World
from tests.cases import cases

HOSTILE = "<script>alert('x')</script>"


def page(tenant: Tenant, change: str) -> str:
    return reverse("admin:tenancy_tenant_worker_key", args=[tenant.pk, change])


def shown(tenant: Tenant) -> str:
    return reverse("admin:tenancy_tenant_change", args=[tenant.pk])


@cases("who", ["tenant-admin", "superuser"])
def test_a_tenants_admin_rotates_its_key(log_in: LogIn, acme: World, who: str) -> None:
    client = log_in(who)
    old = current_key(acme.tenant.slug)
    assert old.key_id in client.get(page(acme.tenant, "start")).text
    confirmation = client.post(page(acme.tenant, "start"), {"reason": HOSTILE}, follow=True).text
    new = current_key(acme.tenant.slug)
    assert [key.key_id for key in active_keys(acme.tenant.slug)] == [new.key_id, old.key_id]
    assert new.key_id in confirmation
    assert HOSTILE not in confirmation
    assert "&lt;script&gt;" in client.get(shown(acme.tenant)).text
    assert client.post(page(acme.tenant, "revoke-old"), {"reason": ""}).status_code == 302
    assert [key.key_id for key in active_keys(acme.tenant.slug)] == [new.key_id]
    assert client.post(page(acme.tenant, "replace"), {"reason": "leaked"}).status_code == 302
    assert current_key(acme.tenant.slug) not in (old, new)
    assert WorkerKeyChange.objects.filter(tenant=acme.tenant).count() == 3


def test_no_page_shows_a_key(log_in: LogIn, acme: World) -> None:
    client = log_in("superuser")
    client.post(page(acme.tenant, "start"), {"reason": ""})
    for key in active_keys(acme.tenant.slug):
        for address in (shown(acme.tenant), page(acme.tenant, "start"), page(acme.tenant, "replace")):
            assert key.text.partition(".")[2] not in client.get(address).text


def test_an_impossible_change_is_refused_on_the_page(log_in: LogIn, acme: World) -> None:
    answer = log_in("tenant-admin").post(page(acme.tenant, "revoke-old"), {"reason": ""})
    assert answer.status_code == 409
    assert "WORKER_KEY_CHANGE_REFUSED" in answer.text


@cases("who", ["viewer", "operator", "release-manager", "nobody", "stranger", "anonymous"])
@cases("change", ["start", "replace"])
def test_other_people_cannot_change_a_key(log_in: LogIn, acme: World, who: str, change: str) -> None:
    client = log_in(who)
    for answer in (client.get(page(acme.tenant, change)), client.post(page(acme.tenant, change), {"reason": ""})):
        assert answer.status_code in {302, 403, 404}
        assert "worker key" not in answer.text
    assert not WorkerKeyChange.objects.exists()


def test_an_unknown_change_is_not_found(log_in: LogIn, acme: World) -> None:
    assert log_in("superuser").get(page(acme.tenant, "forget")).status_code == 404
