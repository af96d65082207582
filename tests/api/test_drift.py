"""REST: drift of a pipeline and of a tenant."""

from typing import Any

import pytest

from releases.models import Release
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import TenantApi, everything, refused
from tests.api.test_responses import conforms

pytestmark = pytest.mark.django_db
ONE, ALL = "pipelines/{pipeline_id}/drift", "drift"
OTHER_DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def odd(ours: TenantApi) -> Release:
    """A release that a worker of another artifact names, and a pipeline whose active release has no worker."""
    making.worker(ours.release, "odd", artifact_digest=OTHER_DIGEST)
    making.active(ours.tenant, pipeline_id="org.example.second")
    return ours.release


def items(ours: TenantApi, path: str) -> list[dict[str, Any]]:
    response = ours.get(path)
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["items"]
    return found


def test_each_drift_has_evidence_a_time_and_a_remedy(ours: TenantApi, odd: Release) -> None:
    found = items(ours, ALL)
    assert [(each["pipelineId"], each["kind"], each["subject"], each["name"]) for each in found] == [
        (making.PIPELINE, "artifact", "worker", "odd"),
        ("org.example.second", "deployment", "release", "1.0"),
    ]
    assert {"name": "The worker's artifact", "value": OTHER_DIGEST} in found[0]["evidence"]
    assert all(each["since"] and each["remedy"] for each in found)
    assert items(ours, ONE) == found[:1]


@pytest.mark.parametrize("path", [ONE, ALL])
def test_the_response_conforms_to_the_document(ours: TenantApi, odd: Release, path: str) -> None:
    document = ours.call("GET", "/api/schema/?format=json").json()
    assert conforms(document, "GET", path, ours.get(path))["items"]


@pytest.mark.parametrize("path", [ONE, ALL])
def test_reading_is_enough_and_needed(ours: TenantApi, odd: Release, path: str) -> None:
    assert ours.get(path, token=ours.token(Scope.READ)).status_code == 200
    others = ours.token(*(scope for scope in Scope if scope is not Scope.READ))
    before = everything()
    assert refused(ours.get(path, token=others), 403, "SCOPE_MISSING")["scope"] == "read"
    assert everything() == before


def test_another_tenant_sees_nothing_of_it(ours: TenantApi, theirs: TenantApi, odd: Release) -> None:
    assert items(theirs, ALL) == items(theirs, ONE) == []
    refused(theirs.call("GET", ours.url(ALL)), 404, "NOT_FOUND")
    refused(theirs.get("pipelines/org.example.second/drift"), 404, "PIPELINE_UNKNOWN")
