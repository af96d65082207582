"""Workers run the code of their release's artifact, not of a folder, and stop when a step wants other code."""

import shutil
from pathlib import Path
from signal import SIGTERM

import pytest
import requests

from embedded.children import Child
from tests.e2e.conftest import PIPELINES
from tests.running import REST_PORT, BuiltRelease, TenantInUse, build, eventually


@pytest.fixture
def foreign(tenant: TenantInUse, tmp_path: Path) -> BuiltRelease:
    release = build("foreign:pipeline", PIPELINES / "foreign", tmp_path / "release", "1.0")
    tenant.register(release)
    tenant.activate(release)
    return release


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "stranger.py").write_text("")
    return folder


def listens(endpoint: str) -> bool:
    try:
        return requests.get(f"{endpoint}/q/health/live", timeout=1).ok
    except requests.RequestException:
        return False


def assert_stopped_by_stranger(worker: Child) -> None:
    """Wait until a worker ends. Fail unless its status is 2 and it names the module."""
    eventually(lambda: not worker.running, what="its end", seconds=60)
    log = worker.log.read_text()
    assert worker.status == 2, log
    assert "error: FOREIGN_MODULE: the module stranger in " in log


def test_an_older_release_is_hosted_from_its_artifact_without_any_source(tenant: TenantInUse, tmp_path: Path) -> None:
    """The folder holds the source of 2.0, and then nothing, while an execution still needs 1.0."""
    source, gate = tmp_path / "source", tmp_path / "gate"
    shutil.copytree(PIPELINES / "v1", source)
    first = build("pinned:pipeline", source, tmp_path / "kept", "1.0")
    tenant.register(first)
    tenant.activate(first)
    worker = tenant.start_worker(first, "while-1.0-is-active")
    work = {"number": 1, "fail_times": 1, "gate": str(gate)}
    on_first = tenant.accepted("tests.pinned", work, "first")["executionId"]
    tenant.wait_until_begun(on_first)
    worker.send(SIGTERM)
    gate.touch()
    assert worker.wait(20) == 0

    shutil.rmtree(source)
    shutil.copytree(PIPELINES / "v2", source)
    second = build("pinned:pipeline", source, tmp_path / "new", "2.0")
    tenant.register(second)
    tenant.activate(second)
    shutil.rmtree(source)
    tenant.start_worker(second, "newer")
    tenant.start_worker(first, "older")
    on_second = tenant.accepted("tests.pinned", {"number": 2}, "second")["executionId"]
    for execution_id in (on_first, on_second):
        tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(on_first) == {"number": 1, "made_by": "code v1, attempt 1"}
    assert tenant.result(on_second) == {"number": 2, "made_by": "code v2, attempt 0"}
    assert tenant.events(on_first)[-1]["actor"] == "worker:older"


def test_a_celery_worker_stops_after_a_foreign_import_and_finishes_its_other_transitions(
    tenant: TenantInUse, foreign: BuiltRelease, outside: Path, tmp_path: Path
) -> None:
    worker = tenant.start_worker(foreign, "celery")
    gate = tmp_path / "gate"
    running = tenant.accepted("tests.foreign", {"gate": str(gate)}, "running")["executionId"]
    tenant.wait_until_begun(running)
    importing = tenant.accepted("tests.foreign", {"folder": str(outside)}, "importing")["executionId"]
    failed = tenant.wait_for(importing, "FAILED")
    assert (failed["error"]["code"], failed["attempt"]) == ("FOREIGN_MODULE", 0)
    assert f"the module stranger in {outside}" in failed["error"]["message"]
    gate.touch()
    tenant.wait_for(running, "SUCCEEDED")
    assert_stopped_by_stranger(worker)


def test_a_rest_worker_stops_after_a_foreign_import(tenant: TenantInUse, foreign: BuiltRelease, outside: Path) -> None:
    worker = tenant.start_rest_worker(foreign, f"rest-{tenant.tenant.slug}")
    pin = {name: foreign.document[name] for name in ("pipelineId", "contractVersion", "releaseVersion")}
    body = {**pin, "workerId": "rest", "endpoint": f"http://127.0.0.1:{REST_PORT}"}
    eventually(lambda: listens(body["endpoint"]), what="its port")
    assert tenant.http.post(tenant.url("workers"), json=body).json()["state"] == "HEALTHY"

    def submitted() -> str | None:
        response = tenant.submit("tests.foreign", {"folder": str(outside)}, "importing")
        return response.json()["executionId"] if response.status_code == 202 else None

    importing = eventually(submitted, what="a submission to be accepted")  # the coordinator checks the worker first
    failed = tenant.wait_for(importing, "FAILED")
    assert (failed["error"]["code"], failed["attempt"]) == ("NonRetryableException", 0)
    assert f"FOREIGN_MODULE: the module stranger in {outside}" in failed["error"]["message"]
    assert_stopped_by_stranger(worker)
