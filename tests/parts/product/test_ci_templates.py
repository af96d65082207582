"""deploy/ci: the scripts of the GitHub action sign, publish and activate a release of the running product."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from releases.models import Pipeline
from releases.trust import trust
from tenancy.roles import Scope
from tests.programs import output_of
from tests.receiving import Receiver
from tests.running import TenantInUse

REPOSITORY = Path(__file__).resolve().parents[3]
ACTION = yaml.safe_load((REPOSITORY / "deploy/ci/github/action.yml").read_text())
SPEC, JOBS = yaml.safe_load_all((REPOSITORY / "deploy/ci/gitlab/release.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
VERSION = "1.4.0"
PIPELINE = "tests.pinned"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    source = REPOSITORY / "tests/e2e/pipelines/v1/pinned.py"
    (folder / "pinned.py").write_text(source.read_text())
    (folder / "requirements.txt").write_text("durable-pipelines==0.1.0\n")
    return folder


@pytest.fixture
def signing_key(tenant: TenantInUse, tmp_path: Path) -> str:
    command = [sys.executable, "-m", "pipelines", "key", str(tmp_path / "ci.pem"), "--json"]
    key = json.loads(output_of(command, REPOSITORY))
    trust.add_key(tenant.tenant, name="ci", public_key=Path(key["public"]).read_text(), actor="user:test")
    return Path(key["private"]).read_text()


@pytest.fixture
def token(tenant: TenantInUse) -> str:
    return tenant.token([Scope.READ, Scope.REGISTER, Scope.ACTIVATE])


def run(script: str, folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(REPOSITORY),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    for name in ("SIGNING_KEY", "PIPELINES_TOKEN", "GITHUB_TOKEN", "COMMENT_TOKEN"):
        assert not environment.get(name) or environment[name] not in done.stdout + done.stderr


def resolved(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: values[match[1]], text)


def test_scripts_read_inputs_from_the_environment_only() -> None:
    """An input that became part of a script could run commands."""
    assert not [name for name, step in STEPS.items() if "${{" in step["run"]]
    assert not [line for job in JOBS.values() for line in job["script"] if "$[[" in line]


def test_the_action_signs_publishes_comments_and_activates(
    tenant: TenantInUse, checkout: Path, receiver: Receiver, signing_key: str, token: str
) -> None:
    receiver.statuses = [201]
    inputs = {
        "pipeline": "pinned:pipeline",
        "lock": "requirements.txt",
        "version": VERSION,
        "url": tenant.product.url,
        "tenant": tenant.tenant.slug,
        "token": token,
        "signing-key": signing_key,
        "reason": "the tag was pushed",
        "github-token": "ghs_secret",
    }
    github = {
        "GITHUB_STEP_SUMMARY": str(checkout / "summary"),
        "GITHUB_OUTPUT": str(checkout / "output"),
        "GITHUB_API_URL": receiver.url(path=""),
        "GITHUB_REPOSITORY": "acme/orders",
        "GITHUB_SHA": "abc",
    }

    def step(name: str) -> None:
        declared = STEPS[name].get("env", {})
        run(STEPS[name]["run"], checkout, {**github, **{key: resolved(text, inputs) for key, text in declared.items()}})

    for name in ("Release", "Publish"):
        step(name)
    assert tenant.get(f"pipelines/{PIPELINE}/releases/{VERSION}")["trust"]["standing"] == "SIGNED"
    Pipeline.objects.filter(tenant=tenant.tenant).update(signature_policy="require")

    step("Pre-flight")
    step("Comment")
    assert (checkout / "output").read_text() == "allowed=false\n"
    [comment] = receiver.requests
    assert comment.path == "/repos/acme/orders/commits/abc/comments"
    assert comment.headers["Authorization"] == "Bearer ghs_secret"
    assert comment.json == {"body": (checkout / "summary").read_text()}
    assert comment.json["body"].startswith("### Pre-flight: the activation would be refused\n\n```text\n")
    assert "refused: WORKER_REQUIRED: " in comment.json["body"]

    Pipeline.objects.filter(tenant=tenant.tenant).update(worker_gate="off")
    step("Pre-flight")
    assert (checkout / "output").read_text() == "allowed=false\nallowed=true\n"
    step("Activate")
    assert tenant.get(f"pipelines/{PIPELINE}")["activeReleaseVersion"] == VERSION
