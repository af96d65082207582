"""REST: the receipts of the deployment API."""

from typing import Any

import pytest
from django.test import Client

from releases.models import Deployment
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import TenantApi, refused
from tests.api.test_responses import conforms

pytestmark = pytest.mark.django_db


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = Client().get("/api/schema/?format=json").json()
    return found


def listed(ours: TenantApi, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ours.get(f"deployments{query}").json()["items"]
    return found


def test_a_receipt_shows_what_was_deployed_where_and_by_whom(ours: TenantApi, document: dict[str, Any]) -> None:
    assert listed(ours) == []
    release = making.registered_carrier(ours.tenant, "2.0")
    made = making.deployed(release, "staging")
    [shown] = conforms(document, "GET", "deployments", ours.get("deployments"))["items"]
    assert shown == {
        "deploymentId": str(made.pk),
        "pipelineId": making.PIPELINE,
        "releaseVersion": "2.0",
        "application": "shop",
        "environment": "staging",
        "descriptorDigest": release.descriptor_digest,
        "actor": "token:test",
        "createdAt": Deployment.objects.get().created_at.isoformat().replace("+00:00", "Z"),
    }


def test_the_pipeline_shows_the_application_that_deploys_it(ours: TenantApi) -> None:
    assert ours.get("pipelines/{pipeline_id}").json()["application"] == ""
    making.deployed(ours.release)
    assert ours.get("pipelines/{pipeline_id}").json()["application"] == "shop"


def test_pages_contain_each_receipt_once_newest_first(ours: TenantApi) -> None:
    """All rows of the test have the same creation time."""
    made = {str(making.deployed(ours.release, f"environment-{number}").pk) for number in range(7)}
    url, shown = ours.url("deployments?pageSize=3"), []
    while url:
        page = ours.call("GET", url).json()
        shown += [each["deploymentId"] for each in page["items"]]
        url = page["next"]
    assert (set(shown), len(shown)) == (made, 7)
    assert shown == sorted(shown, reverse=True)


def test_filters_select_a_pipeline_or_an_environment(ours: TenantApi) -> None:
    other = making.registered_carrier(ours.tenant, pipeline_id="org.example.other")
    for release in (ours.release, other):
        for environment in ("staging", "production"):
            making.deployed(release, environment)
    assert len(listed(ours)) == 4
    assert {each["pipelineId"] for each in listed(ours, "?pipelineId=org.example.other")} == {"org.example.other"}
    [one] = listed(ours, f"?pipelineId={making.PIPELINE}&environment=staging")
    assert (one["pipelineId"], one["environment"]) == (making.PIPELINE, "staging")
    assert listed(ours, "?environment=nowhere") == []


def test_a_tenant_sees_only_its_own_receipts(ours: TenantApi, theirs: TenantApi) -> None:
    mine, foreign = making.deployed(ours.release), making.deployed(theirs.release)
    assert [each["deploymentId"] for each in listed(ours)] == [str(mine.pk)]
    assert [each["deploymentId"] for each in listed(theirs)] == [str(foreign.pk)]
    refused(ours.call("GET", theirs.url("deployments")), 404, "NOT_FOUND")


def test_only_the_scope_read_is_needed(ours: TenantApi) -> None:
    assert ours.get("deployments", token=ours.token(Scope.READ)).status_code == 200
    others = ours.token(*(scope for scope in Scope if scope is not Scope.READ))
    assert refused(ours.get("deployments", token=others), 403, "SCOPE_MISSING")["scope"] == "read"


def test_the_number_of_queries_is_independent_of_the_number_of_receipts(
    ours: TenantApi, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        making.deployed(ours.release, f"environment-{number}")
    assert ours.all_scopes
    with django_assert_max_num_queries(8):
        assert len(listed(ours)) == 20
