"""Journeys of those who release: from the first upload to a breaking upgrade that another person approves."""

from pathlib import Path

import pytest

from tenancy.roles import Role
from tests.e2e.orders import PIPELINE, build_orders
from tests.parts.browser.journeys.conftest import Journey
from tests.running import BuiltRelease, TenantInUse

CURRENCY = ("    waits: bool", "    currency: str\n    waits: bool")
"""A change after which callers of 1.0 fail."""


@pytest.fixture
def orders(tenant: TenantInUse, tmp_path: Path) -> BuiltRelease:
    """Release 1.0 is active, and 2.0 is only registered, breaking for callers."""
    first = build_orders(tmp_path, "1.0")
    tenant.register(first)
    tenant.activate(first)
    upgrade = build_orders(tmp_path, "2.0", CURRENCY)
    tenant.register(upgrade)
    return upgrade


def active(tenant: TenantInUse, pipeline_id: str) -> str:
    return str(tenant.get(f"pipelines/{pipeline_id}/activations")["items"][0]["releaseVersion"])


def test_first_release(journey: Journey, tenant: TenantInUse, v1: BuiltRelease) -> None:
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    manager.sees("No pipelines yet.").opens("Upload the first release")
    manager.attaches("Release descriptor", v1.descriptor).attaches("Artifact files", v1.artifact)
    manager.sees("No files are missing").presses("Upload").sees("Verification passed.")
    manager.opens("Activate").sees("Pre-flight").sees_disabled("Activate 1.0")
    tenant.start_worker(v1, f"worker-{tenant.tenant.slug}")
    manager.opens("Check again").fills("Reason", "The first release").presses("Activate 1.0")
    manager.sees("The first release")
    made = tenant.eventually_accepted("tests.pinned", {"number": 7}, "order 7")
    assert tenant.wait_for(made["executionId"], "SUCCEEDED")["pin"]["releaseVersion"] == "1.0"
    manager.opens("All its executions").opens_row("order 7").sees("SUCCEEDED").opens("Input and result")
    manager.sees("code v1, attempt 0")


def test_rejected_upload(journey: Journey, tenant: TenantInUse, v1: BuiltRelease) -> None:
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    manager.goes_to("Releases").opens("Upload a release").attaches("Release descriptor", v1.descriptor)
    manager.sees("Missing files").presses("Upload").sees("The release has the errors below", "ARTIFACT_FILE_MISSING")
    manager.opens("Upload again").sees("so you can reuse its version")
    manager.attaches("Release descriptor", v1.descriptor).attaches("Artifact files", v1.artifact)
    manager.sees("No files are missing").presses("Upload").sees("Verification passed.")
    assert tenant.get("pipelines/tests.pinned/releases/1.0")["status"] == "REGISTERED"


def test_preflight_that_warns(journey: Journey, tenant: TenantInUse, orders: BuiltRelease) -> None:
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    manager.opens(PIPELINE).opens("Activate 2.0").sees("breaking-for-callers", "currency")
    manager.fills("Type 2.0 to confirm", "1.0").fills("Reason", "Orders need a currency").presses("Activate 2.0")
    manager.sees("Type 2.0 to confirm")
    assert active(tenant, PIPELINE) == "1.0"
    manager.fills("Type 2.0 to confirm", "2.0").presses("Activate 2.0").sees("Orders need a currency")
    assert active(tenant, PIPELINE) == "2.0"


def test_upgrade_with_approval(journey: Journey, tenant: TenantInUse, orders: BuiltRelease) -> None:
    tenant.change_policy(PIPELINE, approvals=1)
    manager, admin = journey.person(tenant, Role.RELEASE_MANAGER), journey.person(tenant, Role.TENANT_ADMIN)
    manager.opens(PIPELINE).opens("Activate 2.0").sees("1 other person must approve the activation", "currency")
    manager.sees_disabled("Activate 2.0").fills("Type 2.0 to confirm", "2.0").fills("Reason", "Orders need a currency")
    manager.presses("Request activation").sees("This is your request, so other people must vote on it.")
    admin.goes_to("Overview").opens("1 activation request waits for approval").opens("2.0")
    admin.sees("Release 2.0 is breaking for callers", "currency").fills("Comment", "The shops send it since Monday")
    assert active(tenant, PIPELINE) == "1.0"
    admin.presses("Approve and activate 2.0 now").sees("The vote counts. The request is ACTIVATED.")
    assert active(tenant, PIPELINE) == "2.0"
