"""The running product carries out requests: at the last vote, and at their time."""

from datetime import UTC, datetime, timedelta

import requests

from tenancy.access import issue_token
from tenancy.roles import Role, Scope
from tests.building import eventually
from tests.running import BuiltRelease, RunningProduct, TenantInUse


def active(tenant: TenantInUse, release: BuiltRelease) -> str | None:
    found: str | None = tenant.get(f"pipelines/{release.pipeline_id}")["activeReleaseVersion"]
    return found


def ask(tenant: TenantInUse, release: BuiltRelease, **members: str) -> str:
    """Request an activation. Return the path of the request."""
    path = f"pipelines/{release.pipeline_id}/activation-requests"
    response = tenant.http.post(
        tenant.url(path), json={"releaseVersion": release.version, "reason": "faster", **members}
    )
    assert response.status_code == 201, response.text
    return f"{path}/{response.json()['requestId']}"


def test_the_clock_carries_out_a_schedule_and_a_vote_activates_at_once(
    running: RunningProduct, tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease
) -> None:
    for release in (v1, v2):
        tenant.register(release)
    at = datetime.now(UTC) + timedelta(seconds=4)
    scheduled = ask(tenant, v1, activateAt=at.isoformat())
    assert (tenant.get(scheduled)["status"], active(tenant, v1)) == ("APPROVED", None)
    eventually(lambda: active(tenant, v1) == v1.version, what="the scheduled activation")
    done = tenant.get(f"pipelines/{v1.pipeline_id}/active")["activation"]
    assert datetime.fromisoformat(done["activatedAt"]) >= at
    assert tenant.get(scheduled)["activationSequence"] == 1
    tenant.change_policy(v2.pipeline_id, approvals=1)
    request_id = ask(tenant, v2)
    voter = running.member(tenant.tenant, Role.RELEASE_MANAGER)
    _, token = issue_token(tenant.tenant, voter, "voter", [Scope.ACTIVATE, Scope.READ], lifetime=None)
    response = requests.post(
        tenant.url(f"{request_id}/votes"),
        json={"decision": "approve", "round": 1},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    assert (response.status_code, response.json()["status"]) == (200, "ACTIVATED")
    assert active(tenant, v2) == v2.version
