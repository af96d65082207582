"""Releases of an author: published with the profile tpf-2026-10, hosted from their artifact, and proven to have run."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from embedded.product import BIN, PROJECT
from releases.models import Release
from tenancy.roles import Scope
from tests.e2e.orders import PIPELINES, build_orders
from tests.running import BuiltRelease, TenantInUse, build
from wire.worker_keys import worker_key


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


def test_a_release_is_verified_published_and_run(tenant: TenantInUse, release: BuiltRelease, tmp_path: Path) -> None:
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


GUIDE = (PROJECT / "docs/how-to/prove-which-code-ran.md").read_text(encoding="utf-8")
PATH = f"{BIN}:{os.environ['PATH']}"


def test_the_guide_proves_what_ran(tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease, tmp_path: Path) -> None:
    tenant.host(v1, "worker-v1")
    execution_id = tenant.accepted("tests.pinned", {"number": 1, "fail_times": 1}, "a key")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")

    folder = tmp_path / "verifier"
    (folder / "dist/1.0").mkdir(parents=True)
    shutil.copy(v1.artifact, folder / "dist/1.0/org.acme.orders.zip")
    shutil.copy(v1.descriptor, folder / "dist/1.0")
    [text] = re.findall(r"```sh\n(.*?)```", GUIDE.partition("\n## ")[0], re.DOTALL)
    download, _, check = text.partition("pipelines ")
    token = tenant.token([Scope.READ])
    own = {"COORDINATOR_URL": tenant.product.url, "COORDINATOR_TENANT": tenant.tenant.slug, "COORDINATOR_TOKEN": token}
    environment = {**own, "EXECUTION": execution_id, "PATH": PATH, "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    subprocess.run(["bash", "-euc", download], cwd=folder, env=environment, check=True)

    def checked(more: str = "") -> subprocess.CompletedProcess[str]:
        command = ["bash", "-euc", f"pipelines {check.rstrip()} {more}"]
        return subprocess.run(command, cwd=folder, env={"PATH": PATH}, capture_output=True, text=True, check=False)

    proven = checked("--json")
    assert (proven.returncode, proven.stderr) == (0, "")
    proof = json.loads(proven.stdout)
    assert (proof["verified"], proof["pinnedThroughout"], proof["finished"]) == (True, True, True)
    assert proof["artifacts"] == [v1.document["artifacts"][0]["digest"]]
    assert [(run["outcome"], run["worker"], run["code"]) for run in proof["runs"]] == [
        ("RETRY_SCHEDULED", "worker-v1", "artifact"),
        ("SUCCEEDED", "worker-v1", "artifact"),
    ]
    assert all(run["environment"] and run["findings"] == [] for run in proof["runs"])
    assert "SUCCEEDED by worker-v1" in checked().stdout

    shutil.copy(v2.artifact, folder / "dist/1.0/org.acme.orders.zip")
    refused = checked()
    assert refused.returncode == 1
    assert "error: ARTIFACT_DID_NOT_RUN: " in refused.stderr
