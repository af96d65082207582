"""`python -m pipelines publish` against the running product."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.product import PROJECT
from releases.models import Pipeline
from releases.trust import trusted_keys
from tenancy.roles import Scope
from tests import signing
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


def test_a_rejected_release_prints_its_findings_and_is_not_activated(
    tenant: TenantInUse, v1: BuiltRelease, token: str
) -> None:
    document = {**v1.document, "contractVersion": "other"}
    v1.descriptor.write_text(json.dumps(document))
    done = publish(tenant, v1, token, "--activate")
    assert done.returncode == 1
    assert "error: ARTIFACT_CONTRACT_VERSION_MISMATCH: pipeline-release.json#artifacts[0]" in done.stderr
    assert "REJECTED" in done.stdout
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] is None


def test_a_signed_release_is_published_and_activated_under_the_policy_require(
    tenant: TenantInUse, v1: BuiltRelease, token: str, tmp_path: Path
) -> None:
    """Sign, upload, be rejected because the key is not trusted, trust the key, activate."""
    dist = v1.descriptor.parent
    key = json.loads(pipelines("key", str(tmp_path / "ci.pem"), "--json").stdout)
    signed = pipelines("release", f"--out={dist}", f"--release-version={v1.version}", f"--sign={key['private']}")
    assert signed.returncode == 0, signed.stderr
    digest = v1.document["artifacts"][0]["digest"]
    (dist / "build.intoto.json").write_text(json.dumps(signing.statement(digest)))

    first = publish(tenant, v1, token, "--json")
    assert (first.returncode, first.stderr) == (0, "")
    uploaded = json.loads(first.stdout)["release"]
    assert [each["kind"] for each in uploaded["attachments"]] == ["signature", "provenance"]
    assert uploaded["trust"]["standing"] == "UNTRUSTED"
    tenant.start_worker(v1, "worker")
    Pipeline.objects.filter(tenant=tenant.tenant).update(signature_policy="require")
    refused = publish(tenant, v1, token, "--activate")
    assert refused.returncode == 2
    assert "error: COORDINATOR_REFUSED: 409 SIGNATURE_REQUIRED" in refused.stderr

    trusted_keys.add(tenant.tenant, name="ci", public_key=Path(key["public"]).read_text(), actor="user:test")
    done = publish(tenant, v1, token, "--activate")
    assert (done.returncode, done.stderr) == (0, "")
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] == v1.version
