"""Quotas hold over all web processes: as many racing submissions are accepted as the quota permits."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from embedded.product import Product
from executions.models import Execution
from tenancy.models import Tenant
from tests.parts.web.conftest import start_web
from tests.running import TenantInUse, build

PIPELINES = Path(__file__).parent / "pipelines"


@pytest.fixture
def url(own: Product, tenant: TenantInUse, tmp_path: Path) -> str:
    """The address to which executions of a pipeline are submitted. No control worker claims them in time."""
    own.environment["ARTIFACT_ROOT"] = tenant.product.environment["ARTIFACT_ROOT"]
    own.environment["WEB_DISPATCHES"] = "false"
    start_web(own)
    return tenant.url("executions").replace(tenant.product.url, own.url)


@pytest.fixture
def pipeline_id(tenant: TenantInUse, tmp_path: Path) -> str:
    """A pipeline whose executions are accepted and stay open, because it is paused."""
    release = build("text:pipeline", PIPELINES, tmp_path / "release", "1.0")
    tenant.register(release)
    tenant.activate(release)
    tenant.start_worker(release, "w")
    paused = tenant.http.post(tenant.url(f"pipelines/{release.pipeline_id}/pause"), json={"reason": "a test"})
    assert paused.status_code == 201, paused.text
    return release.pipeline_id


def race(url: str, tenant: TenantInUse, pipeline_id: str, count: int) -> list[requests.Response]:
    """Submit `count` executions at once, over as many connections."""

    def submit(number: int) -> requests.Response:
        body = {"pipelineId": pipeline_id, "input": "text", "idempotencyKey": f"k{number}"}
        headers = {"Authorization": str(tenant.http.headers["Authorization"])}
        return requests.post(url, json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(submit, range(count)))


def test_exactly_as_many_executions_are_open_as_the_quota_permits(
    url: str, tenant: TenantInUse, pipeline_id: str
) -> None:
    Tenant.objects.filter(pk=tenant.tenant.pk).update(quota_open_executions=23)
    responses = race(url, tenant, pipeline_id, 80)
    assert Counter(response.status_code for response in responses) == {202: 23, 429: 57}
    assert Execution.objects.filter(tenant=tenant.tenant).count() == 23
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Content-Type"] == "application/problem+json"
    document = refused.json()
    assert (document["code"], document["quota"]) == ("QUOTA_EXCEEDED", "openExecutions")
    tenant.stop_workers()


def test_never_more_submissions_are_accepted_in_a_second_than_the_quota_permits(
    url: str, tenant: TenantInUse, pipeline_id: str
) -> None:
    Tenant.objects.filter(pk=tenant.tenant.pk).update(quota_submissions=7)
    began = time.time()
    responses = race(url, tenant, pipeline_id, 80)
    seconds = int(time.time()) - int(began) + 1
    statuses = Counter(response.status_code for response in responses)
    assert set(statuses) <= {202, 429}, [response.text for response in responses if response.status_code >= 500]
    assert 7 <= statuses[202] <= 7 * seconds
    tenant.stop_workers()
