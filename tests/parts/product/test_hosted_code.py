"""Workers run the code of their release's artifact, not of a folder, and stop when a step wants other code."""

import shutil
from pathlib import Path
from signal import SIGTERM

from tenancy.roles import Scope
from tests.e2e.conftest import PIPELINES
from tests.parts.product.conftest import PIPELINES as OWN_PIPELINES
from tests.parts.product.conftest import start_hosting
from tests.running import TenantInUse, build, eventually


def test_an_older_release_is_hosted_from_its_artifact_without_any_source(tenant: TenantInUse, tmp_path: Path) -> None:
    """The folder holds the source of 2.0, and then nothing, while an execution still needs 1.0.

    Its next worker has only the descriptor and a token, and downloads the code.
    """
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
    host = tmp_path / "host"
    host.mkdir()
    (host / "release.json").write_bytes(first.descriptor.read_bytes())
    (host / "token").write_text(f"{tenant.token([Scope.ARTIFACTS])}\n")
    options = ("--fetch", f"--url={tenant.product.url}", "--token-file=token", f"--tenant={tenant.tenant.slug}")
    start_hosting(tenant, "older", Path("release.json"), *options, directory=host)
    on_second = tenant.accepted("tests.pinned", {"number": 2}, "second")["executionId"]
    for execution_id in (on_first, on_second):
        tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(on_first) == {"number": 1, "made_by": "code v1, attempt 1"}
    assert tenant.result(on_second) == {"number": 2, "made_by": "code v2, attempt 0"}
    assert tenant.events(on_first)[-1]["actor"] == "worker:older"


def test_a_worker_stops_after_a_foreign_import_and_finishes_its_other_transitions(
    tenant: TenantInUse, tmp_path: Path
) -> None:
    outside, gate = tmp_path / "outside", tmp_path / "gate"
    outside.mkdir()
    (outside / "stranger.py").write_text("")
    foreign = build("foreign:pipeline", OWN_PIPELINES / "foreign", tmp_path / "release", "1.0")
    tenant.register(foreign)
    tenant.activate(foreign)
    worker = tenant.start_worker(foreign, "celery")
    running = tenant.accepted("tests.foreign", {"gate": str(gate)}, "running")["executionId"]
    tenant.wait_until_begun(running)
    importing = tenant.accepted("tests.foreign", {"folder": str(outside)}, "importing")["executionId"]
    failed = tenant.wait_for(importing, "FAILED")
    assert (failed["error"]["code"], failed["attempt"]) == ("FOREIGN_MODULE", 0)
    assert f"the module stranger in {outside}" in failed["error"]["message"]
    gate.touch()
    tenant.wait_for(running, "SUCCEEDED")
    eventually(lambda: not worker.running, what="its end", seconds=60)
    assert worker.status == 2
    assert "error: FOREIGN_MODULE: the module stranger in " in worker.log.read_text()
