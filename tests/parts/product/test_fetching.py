"""A worker host that has a descriptor and a token downloads the code that it runs."""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.children import Child
from embedded.product import PROJECT
from tenancy.roles import Scope
from tests.e2e.conftest import PIPELINES
from tests.faults import Relay
from tests.running import BuiltRelease, TenantInUse, build
from wire.worker_keys import worker_key

SIZE = 150_000


@pytest.fixture
def released(tenant: TenantInUse, tmp_path: Path) -> BuiltRelease:
    """An active release whose artifact has at least SIZE bytes."""
    folder = tmp_path / "author"
    shutil.copytree(PIPELINES / "v1", folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "pinned.py").open("a") as file:
        file.write(f"\n# {secrets.token_hex(SIZE)}\n")
    release = build("pinned:pipeline", folder, tmp_path / "dist", "1.0")
    assert release.artifact.stat().st_size >= SIZE
    tenant.register(release)
    tenant.activate(release)
    return release


@pytest.fixture
def bare(released: BuiltRelease, tmp_path: Path) -> Path:
    """The folder of a worker host. It contains the descriptor and nothing else of the author."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "pipeline-release.json").write_bytes(released.descriptor.read_bytes())
    return folder


def command(tenant: TenantInUse, url: str) -> list[str]:
    options = [f"--url={url}", "--token-file=token", f"--tenant={tenant.tenant.slug}"]
    return [sys.executable, "-m", "pipelines", "worker", "--release=pipeline-release.json", "--fetch", *options]


def environment(tenant: TenantInUse) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT),
        "PIPELINES_BROKER_URL": tenant.product.broker_url(tenant.tenant.slug),
        "PIPELINES_WORKER_KEY": worker_key(tenant.product.environment["WORKER_SECRET"], tenant.tenant.slug).text,
    }


def start(tenant: TenantInUse, bare: Path, url: str, token: str) -> Child:
    (bare / "token").write_text(f"{token}\n")
    child = tenant.product.children.start(
        "fetching", [*command(tenant, url), "--worker-id=fetching"], environment=environment(tenant), directory=bare
    )
    tenant.workers.append(child)
    return child


def test_a_worker_with_a_descriptor_and_a_token_runs_the_code_of_its_release(
    tenant: TenantInUse, released: BuiltRelease, bare: Path
) -> None:
    """Each connection breaks in the middle of the download."""
    with Relay(tenant.product.port) as relay:
        relay.cut_after = SIZE // 2
        start(tenant, bare, relay.url, tenant.token([Scope.ARTIFACTS]))
        tenant.wait_for_worker("fetching", "HEALTHY")
    execution = tenant.accepted(released.pipeline_id, {"number": 1}, "first")
    tenant.wait_for(execution["executionId"], "SUCCEEDED")
    assert sorted(path.name for path in bare.iterdir()) == ["pipeline-release.json", "token"]


@pytest.mark.parametrize(
    ("scopes", "error"), [([Scope.READ], "COORDINATOR_REFUSED: 403 SCOPE_MISSING"), ([], "COORDINATOR_REFUSED: 401")]
)
def test_a_token_without_the_scope_gets_no_code(
    tenant: TenantInUse, bare: Path, scopes: list[Scope], error: str
) -> None:
    (bare / "token").write_text(tenant.token(scopes) if scopes else "dc_unknown")
    done = subprocess.run(
        command(tenant, tenant.product.url),
        cwd=bare,
        env=environment(tenant),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"error: {error}" in done.stderr
