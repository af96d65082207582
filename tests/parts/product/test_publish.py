"""`python -m pipelines publish` against the running product."""

import json
import os
import subprocess
import sys

import pytest

from embedded.product import PROJECT
from tenancy.roles import Scope
from tests.running import BuiltRelease, TenantInUse


@pytest.fixture
def token(tenant: TenantInUse) -> str:
    return tenant.token([Scope.READ, Scope.REGISTER, Scope.ACTIVATE])


def pipelines(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **environment}
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def publish(tenant: TenantInUse, release: BuiltRelease, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    target = (f"--url={tenant.product.url}", f"--tenant={tenant.tenant.slug}")
    return pipelines("publish", str(release.descriptor.parent), *options, *target, PIPELINES_TOKEN=token)


def test_publish_uploads_waits_and_activates_and_can_be_repeated(
    tenant: TenantInUse, v1: BuiltRelease, token: str
) -> None:
    done = publish(tenant, v1, token)
    assert (done.returncode, done.stderr) == (0, "")
    assert dict(line.split(maxsplit=1) for line in done.stdout.splitlines())["status"] == "REGISTERED"
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] is None

    refused = publish(tenant, v1, token, "--activate")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: WORKER_REQUIRED: ")
    assert f"pipelines worker --release {v1.descriptor}" in refused.stderr
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] is None

    tenant.start_worker(v1, "worker")
    repeated = publish(tenant, v1, token, "--activate", "--reason=first", "--json")
    assert repeated.returncode == 0, repeated.stderr
    output = json.loads(repeated.stdout)
    assert (output["release"]["status"], output["activation"]["reason"]) == ("REGISTERED", "first")
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] == v1.version
