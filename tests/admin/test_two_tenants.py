"""Two tenants that use the same names: no admin page shows, counts or offers objects of the other tenant."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from executions.models import Execution, Interaction
from tenancy.models import Membership
from tenancy.roles import Role
from tests import making, signing
from tests.admin import operator_rows
from tests.admin.conftest import World, furnished
from tests.api.tenant_api import upload
from tests.cases import cases

PIPELINE = "shared.orders"
TENANTS = ("twin-a", "twin-b")


def member(world: World) -> Client:
    """Return a client that is logged in as an administrator of this tenant only."""
    client = Client()
    client.force_login(User.objects.get(username=f"tenant-admin-of-{world.tenant.slug}"))
    return client


@pytest.fixture
def twins(db: None) -> list[World]:
    """Two tenants, each with a running, a failed, a waiting and a stranded execution. The older one is first."""
    worlds = [furnished(slug, PIPELINE) for slug in TENANTS]
    for world in worlds:
        slug = world.tenant.slug
        operator_rows.question(world, assignee=f"eva-of-{slug}", group=f"group-of-{slug}")
        operator_rows.dead(world, "dead", code=f"Error-of-{slug}")
        operator_rows.campaign(world)
        signing.trusted(world.tenant, f"key-of-{slug}")
        other = making.active(world.tenant, pipeline_id=f"other.{slug}")
        lonely = making.worker(other, "lonely")
        making.worker(world.release, "shared")
        making.execution(world.tenant, "stranded", pipeline_id=f"other.{slug}")
        making.silence(lonely)
    Execution.objects.filter(status="RUNNING").update(lease_owner="worker:shared", lease_worker="shared")
    return worlds


LISTS = [
    "index",
    "releases_pipeline_changelist",
    "releases_release_changelist",
    "releases_trustedkey_changelist",
    "executions_execution_changelist",
    "executions_worker_changelist",
    "executions_interaction_changelist",
    "executions_deadletter_changelist",
    "executions_failuregroup_changelist",
    "executions_campaign_changelist",
    "tenancy_tenant_changelist",
    "tenancy_membership_changelist",
    "tenancy_apitoken_changelist",
    "tenancy_apitoken_add",
    "tenancy_membership_add",
    "releases_trustedkey_new",
    "releases_release_upload",
    "executions_campaign_start",
]


def content(client: Client, address: str) -> str:
    """Return the page without CSRF tokens and nonces."""
    answer = client.get(address)
    assert answer.status_code == 200
    return re.sub(r'(csrfmiddlewaretoken" value=|X-CSRFToken|nonce=)[^>]+', "", answer.text)


def identifiers_of(world: World) -> list[str]:
    """Return ids and names that only occur in this tenant."""
    executions = Execution.objects.filter(tenant=world.tenant).values_list("pk", flat=True)
    questions = Interaction.objects.filter(tenant=world.tenant).values_list("pk", flat=True)
    return [world.tenant.slug, *map(str, executions), *map(str, questions), *(str(pk)[:13] for pk in executions)]


def test_lists_forms_and_the_overview_reveal_nothing_of_another_tenant(
    twins: list[World], subtests: pytest.Subtests
) -> None:
    client, foreign = member(twins[0]), identifiers_of(twins[1])
    for page in LISTS:
        with subtests.test(page):
            shown = content(client, reverse(f"admin:{page}"))
            assert [each for each in foreign if each in shown] == []


def figures(client: Client) -> dict[str, Any]:
    """Return the counts on the overview."""
    found = client.get(reverse("admin:index")).context
    names = ("live_count", "retry_count", "failed_count", "worker_count", "waiting_count", "stranded_count")
    lines = [(each.workers, sorted(each.live.items()), each.failed) for each in found["lines"]]
    return {**{name: found[name] for name in names}, "lines": lines, "activations": len(found["activations"])}


def test_the_overview_counts_only_rows_of_the_users_tenant(twins: list[World]) -> None:
    first, second = (figures(member(world)) for world in twins)
    assert first == second
    assert first == {
        "live_count": 3,
        "retry_count": 0,
        "failed_count": 1,
        "worker_count": 2,
        "waiting_count": 1,
        "stranded_count": 1,
        "lines": [(0, [("QUEUED", 1)], 0), (2, [("RUNNING", 1), ("WAITING_EXTERNAL", 1)], 1)],
        "activations": 2,
    }


def test_the_overview_of_two_tenants_counts_their_pipelines_separately(twins: list[World]) -> None:
    operator_rows.dead(twins[1], "dead-2", "dead-3")
    User.objects.create_superuser("superuser")
    client = Client()
    client.force_login(User.objects.get(username="superuser"))
    lines = client.get(reverse("admin:index")).context["lines"]
    failed = {(each.pipeline.tenant.slug, each.pipeline.pipeline_id): each.failed for each in lines}
    assert failed == {
        ("twin-a", PIPELINE): 1,
        ("twin-b", PIPELINE): 3,
        ("twin-a", "other.twin-a"): 0,
        ("twin-b", "other.twin-b"): 0,
    }


def test_the_page_of_a_worker_shows_only_executions_of_its_tenant(twins: list[World]) -> None:
    for world in twins:
        worker = world.tenant.workers.get(worker_id="shared")
        found = member(world).get(reverse("admin:executions_worker_change", args=[worker.pk])).context
        assert [each.pk for each in found["running"]] == [world.execution.pk]


def test_a_filter_by_a_shared_name_finds_only_rows_of_the_users_tenant(twins: list[World]) -> None:
    for model in ("execution", "interaction", "deadletter", "worker"):
        address = reverse(f"admin:executions_{model}_changelist")
        shown = [member(world).get(address, {"pipeline": PIPELINE}).context["cl"].result_list for world in twins]
        assert [{row.tenant_id for row in rows} for rows in shown] == [{world.tenant.pk} for world in twins]
        assert len(shown[0]) == len(shown[1])


def test_a_search_for_a_shared_key_finds_only_the_execution_of_the_users_tenant(twins: list[World]) -> None:
    address = reverse("admin:executions_execution_changelist")
    for world in twins:
        rows = member(world).get(address, {"q": "dead"}).context["cl"].result_list
        assert [row.tenant_id for row in rows] == [world.tenant.pk]


# --- forms for a user who administers one tenant and views the other ---


@pytest.fixture
def mixed(twins: list[World]) -> Client:
    """A client of a user who administers the newer tenant and views the older one."""
    person = User.objects.get(username=f"tenant-admin-of-{TENANTS[1]}")
    Membership.objects.create(user=person, tenant=twins[0].tenant, role=Role.VIEWER)
    return member(twins[1])


FORMS: list[tuple[str, dict[str, Any], bool]] = [
    ("tenancy_apitoken_add", {"name": "t", "scopes": ["read"], "lifetime": "30"}, False),
    ("tenancy_membership_add", {"username": "somebody", "role": "viewer"}, False),
    ("releases_trustedkey_new", {"name": "mine", "public_key": signing.public_pem("mine")}, False),
    ("executions_campaign_start", {"pipeline_id": PIPELINE, "why": "mended", "rate_per_minute": "1"}, True),
]


def test_a_form_accepts_only_tenants_in_which_the_user_has_the_right(
    twins: list[World], mixed: Client, subtests: pytest.Subtests
) -> None:
    User.objects.create_user("somebody")
    for page, fields, by_slug in FORMS:
        for world in twins:
            with subtests.test(page, tenant=world.tenant.slug):
                before = count_of(world)
                tenant = world.tenant.slug if by_slug else world.tenant.pk
                mixed.post(reverse(f"admin:{page}"), {**fields, "tenant": tenant})
                assert (count_of(world) > before) is (world is twins[1])


def count_of(world: World) -> int:
    tenant = world.tenant
    rows = (tenant.tokens, tenant.memberships, tenant.trusted_keys, tenant.campaigns)
    return sum(each.count() for each in rows)


def test_a_form_offers_only_tenants_in_which_the_user_has_the_right(mixed: Client) -> None:
    for page in ("tenancy_apitoken_add", "tenancy_membership_add", "releases_trustedkey_new"):
        shown = mixed.get(reverse(f"admin:{page}")).text
        assert re.findall(r"<option[^>]*>\s*(twin-[ab])", shown) == ["twin-b"]
    upload_page = mixed.get(reverse("admin:releases_release_upload"))
    assert [tenant.slug for tenant in upload_page.context["tenants"]] == ["twin-b"]


def test_an_upload_is_rejected_for_tenants_in_which_the_user_may_not_register(
    twins: list[World], mixed: Client
) -> None:
    for world, accepted in zip(twins, (False, True), strict=True):
        form = upload("5.0")
        answer = mixed.post(
            reverse("admin:releases_release_upload"),
            {"descriptor": form["descriptor"], "artifacts": form["artifact"], "tenant": world.tenant.slug},
        )
        assert (answer.status_code == 302) is accepted
        assert world.tenant.pipelines.filter(pipeline_id=making.PIPELINE).exists() is accepted


@cases("model", ["tenancy_apitoken", "tenancy_membership"])
def test_a_list_for_administrators_shows_only_tenants_that_the_user_administers(
    model: str, mixed: Client, twins: list[World]
) -> None:
    rows = mixed.get(reverse(f"admin:{model}_changelist")).context["cl"].result_list
    assert {row.tenant_id for row in rows} == {twins[1].tenant.pk}
