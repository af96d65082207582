"""Two tenants that use the same names: pages count, find and accept only what is of the user's tenants."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from executions.models import Execution
from tenancy.models import Membership
from tenancy.roles import Role
from tests import making, signing
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import World, furnished
from tests.api.tenant_api import upload
from tests.cases import cases

pytestmark = pytest.mark.django_db
PIPELINE = "shared.orders"


@pytest.fixture(scope="module")
def twins(module_world: None) -> tuple[World, World]:
    """Two tenants, each with a running, a failed, a waiting and a stranded execution. The older one is first."""
    first, second = (furnished(slug, PIPELINE) for slug in ("twin-a", "twin-b"))
    for world in (first, second):
        slug = world.tenant.slug
        operator_rows.question(world, assignee=f"eva-of-{slug}", group=f"group-of-{slug}")
        operator_rows.dead(world, "dead", code=f"Error-of-{slug}")
        operator_rows.campaign(world)
        lonely = making.worker(making.active(world.tenant, pipeline_id=f"other.{slug}"), "lonely")
        making.worker(world.release, "shared")
        making.execution(world.tenant, "stranded", pipeline_id=f"other.{slug}")
        making.silence(lonely)
    Execution.objects.filter(status="RUNNING").update(lease_owner="worker:shared", lease_worker="shared")
    User.objects.create_superuser("superuser")
    return first, second


def member(world: World) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=f"tenant-admin-of-{world.tenant.slug}"))
    return client


def figures(client: Client) -> dict[str, Any]:
    shown = client.get(to("index")).context
    names = ("live_count", "retry_count", "failed_count", "worker_count", "waiting_count", "stranded_count")
    lines = [(line.workers, sorted(line.live.items()), line.failed) for line in shown["lines"]]
    return {**{name: shown[name] for name in names}, "lines": lines, "activations": len(shown["activations"])}


def test_the_overview_counts_only_rows_of_the_users_tenant(twins: tuple[World, World]) -> None:
    first, second = (figures(member(world)) for world in twins)
    assert first == second
    (everything := Client()).force_login(User.objects.get(username="superuser"))
    assert [failed for *_, failed in figures(everything)["lines"]].count(1) == 2
    assert first == {
        **{"live_count": 3, "retry_count": 0, "failed_count": 1, "worker_count": 2},
        **{"waiting_count": 1, "stranded_count": 1, "activations": 2},
        "lines": [(0, [("QUEUED", 1)], 0), (2, [("RUNNING", 1), ("WAITING_EXTERNAL", 1)], 1)],
    }


@pytest.fixture
def mixed(twins: tuple[World, World]) -> Client:
    person = User.objects.get(username="tenant-admin-of-twin-b")
    Membership.objects.create(user=person, tenant=twins[0].tenant, role=Role.VIEWER)
    return member(twins[1])


def count_of(world: World) -> int:
    tenant = world.tenant
    rows = (tenant.tokens, tenant.memberships, tenant.trusted_keys, tenant.campaigns, tenant.alert_channels)
    return sum(row.count() for row in rows)


@cases(
    ("page", "fields", "by_slug"),
    [
        ("tenancy_apitoken_add", {"name": "t", "scopes": ["read"], "lifetime": "30"}, False),
        ("tenancy_membership_add", {"username": "superuser", "role": "viewer"}, False),
        ("releases_trustedkey_new", {"name": "mine", "public_key": signing.public_pem("mine")}, False),
        ("alerts_alertchannel_new", {"name": "h", "kind": "webhook", "address": "https://h.example/x"}, False),
        ("executions_campaign_start", {"pipeline_id": PIPELINE, "why": "mended", "rate_per_minute": "1"}, True),
    ],
)
def test_a_form_accepts_and_offers_only_tenants_in_which_the_user_has_the_right(
    page: str, fields: dict[str, Any], by_slug: bool, twins: tuple[World, World], mixed: Client
) -> None:
    for world in twins:
        before = count_of(world)
        mixed.post(to(page), {**fields, "tenant": world.tenant.slug if by_slug else world.tenant.pk})
        assert (count_of(world) > before) is (world is twins[1])
    offered = re.findall(r"<option[^>]*>\s*(twin-[ab])", mixed.get(to(page)).text)
    assert "twin-a" not in offered


def test_an_upload_is_only_for_tenants_in_which_the_user_registers(twins: tuple[World, World], mixed: Client) -> None:
    page = mixed.get(to("releases_release_upload"))
    assert [tenant.slug for tenant in page.context["tenants"]] == ["twin-b"]
    for world, accepted in zip(twins, (False, True), strict=True):
        form = upload("5.0")
        fields = {"descriptor": form["descriptor"], "artifacts": form["artifact"], "tenant": world.tenant.slug}
        assert (mixed.post(to("releases_release_upload"), fields).status_code == 302) is accepted
        assert world.tenant.pipelines.filter(pipeline_id=making.PIPELINE).exists() is accepted
