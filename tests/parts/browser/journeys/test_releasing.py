"""Journeys of those who upload releases."""

from tenancy.roles import Role
from tests.parts.browser.journeys.conftest import Journey
from tests.running import BuiltRelease, TenantInUse


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
    manager.opens("All executions of the pipeline").opens_row("order 7").sees("SUCCEEDED").opens("Input and result")
    manager.sees("code v1, attempt 0")


def test_rejected_upload(journey: Journey, tenant: TenantInUse, v1: BuiltRelease) -> None:
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    manager.goes_to("Releases").opens("Upload a release").attaches("Release descriptor", v1.descriptor)
    manager.sees("Missing files").presses("Upload").sees("The release has the errors below", "ARTIFACT_FILE_MISSING")
    manager.opens("Upload again").sees("so you can reuse its version")
    manager.attaches("Release descriptor", v1.descriptor).attaches("Artifact files", v1.artifact)
    manager.sees("No files are missing").presses("Upload").sees("Verification passed.")
    assert tenant.get("pipelines/tests.pinned/releases/1.0")["status"] == "REGISTERED"
