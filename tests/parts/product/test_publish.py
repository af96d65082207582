"""`python -m pipelines publish` against the running product."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from releases.models import Pipeline
from releases.trust import trusted_keys
from tenancy.roles import Scope
from tests import making, signing
from tests.running import BuiltRelease, TenantInUse

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def token(tenant: TenantInUse) -> str:
    return tenant.token([Scope.READ, Scope.REGISTER, Scope.ACTIVATE])


def publish(
    tenant: TenantInUse, release: BuiltRelease, token: str, *options: str, url: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PIPELINES_TOKEN": token}
    command = [sys.executable, "-m", "pipelines", "publish", str(release.descriptor.parent), *options]
    command += [f"--url={url or tenant.product.url}", f"--tenant={tenant.tenant.slug}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


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


def test_activate_says_what_would_happen_and_then_does_it(tenant: TenantInUse, v1: BuiltRelease, token: str) -> None:
    def activate(*options: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PIPELINES_TOKEN": token}
        command = [sys.executable, "-m", "pipelines", "activate", v1.pipeline_id, v1.version, *options]
        command += [f"--url={tenant.product.url}", f"--tenant={tenant.tenant.slug}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    tenant.register(v1)
    tenant.change_policy(v1.pipeline_id, workerGate="require")
    refused = activate("--dry-run")
    assert (refused.returncode, refused.stderr) == (3, "")
    assert "refused: WORKER_REQUIRED: " in refused.stdout
    really = activate("--reason=first")
    assert (really.returncode, really.stdout) == (3, "")
    assert really.stderr.startswith("error: COORDINATOR_REFUSED: 409 WORKER_REQUIRED")

    tenant.start_worker(v1, "w1")
    allowed = activate("--dry-run", "--json")
    assert (allowed.returncode, json.loads(allowed.stdout)["allowed"]) == (0, True)
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] is None
    done = activate("--reason=first", "--expected=")
    assert (done.returncode, done.stderr) == (0, "")
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] == v1.version
    tenant.stop_workers()


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


def test_errors_are_printed_with_their_code_and_without_the_token(
    tenant: TenantInUse, v1: BuiltRelease, token: str
) -> None:
    unauthenticated = publish(tenant, v1, "dc_unknown")
    unreachable = publish(tenant, v1, token, url="http://127.0.0.1:1")
    invalid_url = publish(tenant, v1, token, url="ftp://example.org")
    missing = publish(tenant, v1, "")
    v1.artifact.write_bytes(b"other")
    altered = publish(tenant, v1, token)
    v1.artifact.unlink()
    absent = publish(tenant, v1, token)
    results = {
        "COORDINATOR_REFUSED: 401 NOT_AUTHENTICATED": unauthenticated,
        "COORDINATOR_UNREACHABLE": unreachable,
        "INVALID_URL": invalid_url,
        "MISSING_OPTION": missing,
        "INVALID_RELEASE": altered,
        "NO_ARTIFACT": absent,
    }
    for code, done in results.items():
        assert done.returncode == 2, done
        assert done.stderr.startswith(f"error: {code}"), done.stderr
        assert token not in done.stderr + done.stdout


def pipelines(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_a_signed_release_is_published_and_activated_under_the_policy_require(
    tenant: TenantInUse, v1: BuiltRelease, token: str, tmp_path: Path
) -> None:
    """Sign, upload, be rejected because the key is not trusted, trust the key, activate."""
    dist = v1.descriptor.parent
    key = json.loads(pipelines("key", str(tmp_path / "ci.pem"), "--json").stdout)
    pipelines("release", f"--out={dist}", f"--release-version={v1.version}", f"--sign={key['private']}")
    digest = v1.document["artifacts"][0]["digest"]
    (dist / "build.intoto.json").write_text(json.dumps(signing.statement(digest)))
    elsewhere = tmp_path / "made-elsewhere.json"
    elsewhere.write_text(json.dumps(signing.cyclone(digest=digest)))

    first = publish(tenant, v1, token, f"--attach={elsewhere}", "--json")
    assert (first.returncode, first.stderr) == (0, "")
    uploaded = json.loads(first.stdout)["release"]
    assert [each["kind"] for each in uploaded["attachments"]] == ["signature", "provenance", "sbom"]
    assert uploaded["trust"]["standing"] == "UNTRUSTED"
    tenant.start_worker(v1, "worker")
    Pipeline.objects.filter(tenant=tenant.tenant).update(signature_policy="require")
    warned = publish(tenant, v1, token)
    assert (warned.returncode, warned.stderr.split(":")[:2]) == (0, ["warning", " UNTRUSTED"])
    refused = publish(tenant, v1, token, "--activate")
    assert refused.returncode == 2
    assert "error: COORDINATOR_REFUSED: 409 SIGNATURE_REQUIRED" in refused.stderr

    trusted_keys.add(tenant.tenant, name="ci", public_key=Path(key["public"]).read_text(), actor="user:test")
    done = publish(tenant, v1, token, "--activate")
    assert (done.returncode, done.stderr) == (0, "")
    assert tenant.get(f"pipelines/{v1.pipeline_id}")["activeReleaseVersion"] == v1.version


def test_a_signature_of_another_descriptor_is_rejected_before_the_upload(
    tenant: TenantInUse, v1: BuiltRelease, token: str, tmp_path: Path
) -> None:
    dist = v1.descriptor.parent
    key = json.loads(pipelines("key", str(tmp_path / "ci.pem"), "--json").stdout)
    pipelines("release", f"--out={dist}", f"--sign={key['private']}")
    v1.descriptor.write_text(json.dumps(v1.document))
    for wrong in (publish(tenant, v1, token), publish(tenant, v1, token, "--attach=gone.json")):
        assert wrong.returncode == 2
        assert wrong.stderr.startswith(("error: INVALID_RELEASE", "error: NO_ATTACHMENT"))
    (dist / "pipeline-release.dsse.json").write_text("[]")
    assert publish(tenant, v1, token).stderr.startswith("error: INVALID_RELEASE")


def test_a_release_with_only_images_is_published_with_its_contract(
    tenant: TenantInUse, tmp_path: Path, token: str
) -> None:
    contract = making.contract()
    document = making.descriptor(contract, b"manifest", kind="container-image")
    (tmp_path / "pipeline-release.json").write_text(json.dumps(document))
    (tmp_path / "pipeline-contract.json").write_text(json.dumps(contract))
    release = BuiltRelease("", tmp_path, tmp_path / "pipeline-release.json", tmp_path, document)
    done = publish(tenant, release, token, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"]["contract"]["steps"][0]["authoredName"] == "Validate"
