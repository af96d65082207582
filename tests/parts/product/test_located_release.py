"""A release of the profile tpf-2026-10, from the author's commands to an execution on a worker of it."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embedded.product import PROJECT
from releases.models import Release
from tenancy.roles import Scope
from tests.e2e.orders import build_orders
from tests.running import BuiltRelease, TenantInUse


@pytest.fixture
def release(tmp_path: Path) -> BuiltRelease:
    built = build_orders(tmp_path, "1.0")
    options = ("--out", tmp_path / "dist", "--profile=tpf-2026-10", "--release-version=1.0", "--json")
    descriptor = Path(pipelines("release", built.artifact, *options)["path"])
    artifact, document = descriptor.with_name(built.artifact.name), json.loads(descriptor.read_bytes())
    return BuiltRelease(built.reference, built.directory, descriptor, artifact, document)


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def pipelines(*arguments: str | Path, **environment: str) -> dict[str, Any]:
    done = run(*arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_a_release_is_verified_published_and_executed(
    tenant: TenantInUse, release: BuiltRelease, tmp_path: Path
) -> None:
    """A repeated `publish` continues. The retry repeats the failed step only, since the artifact has checkpoints."""
    verified = pipelines("verify-release", release.descriptor, "--json")
    assert verified["status"] == "VERIFIED"
    environment = {
        "PIPELINES_URL": tenant.product.url,
        "PIPELINES_TENANT": tenant.tenant.slug,
        "PIPELINES_TOKEN": tenant.token([Scope.READ, Scope.REGISTER, Scope.ACTIVATE]),
    }
    publish = ("publish", release.descriptor.parent)
    done = run(*publish, **environment)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert done.stderr.startswith("warning: ARTIFACT_NOT_PROMOTABLE: ")
    assert dict(line.split(maxsplit=1) for line in done.stdout.splitlines())["status"] == "REGISTERED"
    refused = run(*publish, "--activate", **environment)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "error: WORKER_REQUIRED: " in refused.stderr
    assert f"pipelines worker {release.pipeline_id}@1.0\n" in refused.stderr
    assert tenant.get(f"pipelines/{release.pipeline_id}")["activeReleaseVersion"] is None

    tenant.start_worker(release, "worker")
    published = pipelines(*publish, "--activate", "--reason=first", "--json", **environment)
    assert (published["release"]["status"], published["activation"]["reason"]) == ("REGISTERED", "first")
    stored = Release.objects.get(pipeline__tenant=tenant.tenant)
    assert stored.descriptor_digest == verified["descriptorDigest"]
    assert stored.descriptor_digest == f"sha256:{hashlib.sha256(release.descriptor.read_bytes()).hexdigest()}"

    value = {"number": 1, "folder": str(tmp_path), "fail_times": 2}
    execution_id = tenant.accepted(release.pipeline_id, value, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert [(tmp_path / step).read_text() for step in ("price", "settle")] == ["once\n", 3 * "once\n"]
