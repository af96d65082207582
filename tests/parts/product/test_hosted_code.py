import shutil
import sys
from pathlib import Path
from signal import SIGTERM

from embedded.product import PROJECT
from tenancy.roles import Scope
from tests.e2e.orders import PIPELINES
from tests.running import TenantInUse, build
from wire.worker_keys import worker_key


def start_hosting(tenant: TenantInUse, name: str, release: Path, *options: str, directory: Path) -> None:
    """Start `pipelines worker` in the folder with these options and wait until it is accepted."""
    product = tenant.product
    child = product.children.start(
        name,
        [sys.executable, "-m", "pipelines", "worker", f"--release={release}", f"--worker-id={name}", *options],
        environment={
            "PYTHONPATH": str(PROJECT),
            "DJANGO_SETTINGS_MODULE": "another.program",
            "PIPELINES_TENANT": tenant.tenant.slug,
            "PIPELINES_BROKER_URL": product.broker_url(tenant.tenant.slug),
            "PIPELINES_WORKER_KEY": worker_key(product.environment["WORKER_SECRET"], tenant.tenant.slug).text,
        },
        directory=directory,
    )
    tenant.workers.append(child)
    tenant.wait_for_worker(name, "HEALTHY")


def test_an_older_release_is_hosted_from_its_artifact_without_any_source(tenant: TenantInUse, tmp_path: Path) -> None:
    """The folder holds the source of 2.0, and then nothing, while an execution still needs 1.0.

    Its next worker has only the descriptor and a token, and downloads the code.
    """
    source, gate = tmp_path / "source", tmp_path / "gate"
    shutil.copytree(PIPELINES / "v1", source)
    first = build("pinned:pipeline", source, tmp_path / "kept", "1.0")
    worker = tenant.host(first, "while-1.0-is-active")
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
