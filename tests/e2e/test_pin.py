"""The promise of the product: what was accepted under a release runs on that release, whatever is activated later."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import BuiltRelease, RunningProduct, TenantInUse, build

PIPELINES = Path(__file__).parent / "pipelines"


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> Iterator[TenantInUse]:
    made = running.tenant(name)
    yield made
    made.stop_workers()


@pytest.fixture
def v1(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")


@pytest.fixture
def v2(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v2", tmp_path / "v2", "2.0")


def test_a_retry_goes_to_the_pinned_release_although_another_was_activated_in_between(
    tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "worker-v1")
    first = tenant.accepted("tests.pinned", {"number": 1, "fail_times": 1}, "first")
    assert first["pin"]["releaseVersion"] == "1.0"
    tenant.register(v2)
    tenant.start_worker(v2, "worker-v2")
    tenant.wait_for(first["executionId"], "WAIT_RETRY")
    tenant.activate(v2, "while v1 is between attempts")
    second = tenant.accepted("tests.pinned", {"number": 2, "fail_times": 0}, "second")

    assert tenant.wait_for(second["executionId"], "SUCCEEDED")["pin"]["releaseVersion"] == "2.0"
    assert tenant.wait_for(first["executionId"], "SUCCEEDED")["pin"]["releaseVersion"] == "1.0"
    assert tenant.result(first["executionId"]) == {"number": 1, "made_by": "code v1, attempt 1"}
    assert tenant.result(second["executionId"]) == {"number": 2, "made_by": "code v2, attempt 0"}
    kinds = [(event["kind"], event["actor"]) for event in tenant.events(first["executionId"])]
    assert [kind for kind, _ in kinds] == ["SUBMITTED", "CLAIMED", "RETRY_SCHEDULED", "CLAIMED", "SUCCEEDED"]
    assert {actor for _, actor in kinds if actor.startswith("worker:")} == {"worker:worker-v1"}
