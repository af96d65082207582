"""The framework's deployment command line with the processes of the product and a Maven repository."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedded.product import PROJECT, Product
from releases.models import Deployment
from tenancy.roles import Scope
from tests.interop.deploying import described
from tests.maven_repository import MavenRepository, maven_repository
from tests.oauth_issuer import OAuthIssuer, oauth_issuer
from tests.parts.product.conftest import product_with_own_broker, start_hosting
from tests.running import BuiltRelease, RunningProduct
from wire.documents.contract import CONTRACT_ENTRY

"""The longest time for a response, on a busy machine with two cores, in seconds."""
ARCHIVE = "maven:com.acme:pinned:zip:1.0"


@pytest.fixture
def repository() -> Iterator[MavenRepository]:
    with maven_repository() as made:
        yield made


@pytest.fixture
def issuer() -> Iterator[OAuthIssuer]:
    with oauth_issuer() as made:
        yield made


@pytest.fixture
def product(
    running: RunningProduct, tmp_path: Path, repository: MavenRepository, issuer: OAuthIssuer
) -> Iterator[RunningProduct]:
    """A copy of the product with the deployment API."""
    settings = {
        "TPF_DEPLOYMENTS_ENABLED": "true",
        "TPF_DEPLOYMENT_ENVIRONMENTS": "production=,staging=staging-",
        "MAVEN_REPOSITORIES": repository.toml(),
        "MAVEN_ALLOWED_NETWORKS": "127.0.0.0/8",
        "OAUTH_SCOPES": "tpf:deploy=releases:register",
        **issuer.environment(),
    }
    with product_with_own_broker(running, tmp_path, settings) as (made, _):
        yield made


@dataclass
class Desk:
    """A folder with a release and a configuration for the command line."""

    folder: Path
    product: Product
    repository: MavenRepository

    def describe(self, document: bytes) -> Path:
        release = self.folder / "pipeline-release.json"
        release.write_bytes(document)
        return release

    def deploy(self, credential: str, variables: dict[str, str], *, environment: str = "production") -> tuple[int, Any]:
        """Run the command line. Return its exit status and the document that it prints."""
        target = {
            "type": "tpf-cloud",
            "endpoint": self.product.url,
            "organization": "acme",
            "application": "Order service",
            "environment": environment,
            "credential": credential,
        }
        configuration = {
            "resolverProfiles": {"default": {"file": False, "maven": {"repositories": [self.repository.url]}}},
            "environments": {environment: {"resolverProfile": "default", "target": target}},
        }
        config = self.folder / "deploy.json"
        config.write_text(json.dumps(configuration))
        command = [sys.executable, "-m", "tests.parts.clients.tpf_cli", "deploy", environment, "--output=json"]
        done = subprocess.run(
            [*command, f"--release={self.folder / 'pipeline-release.json'}", f"--config={config}"],
            cwd=PROJECT,
            env=variables,
            capture_output=True,
            text=True,
            timeout=90,
        )
        return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


@pytest.fixture
def desk(tmp_path: Path, product: RunningProduct, repository: MavenRepository) -> Desk:
    return Desk(tmp_path, product.product, repository)


def archived(repository: MavenRepository, release: BuiltRelease) -> bytes:
    """Publish the artifact of a pipeline in Python. Return a descriptor that the framework's command line accepts."""
    with zipfile.ZipFile(release.artifact) as archive:
        contract = json.loads(archive.read(CONTRACT_ENTRY))
    digest = repository.publish(ARCHIVE, release.artifact.read_bytes())
    document = json.loads(described(uri=ARCHIVE, digest=digest, kind="application-archive"))
    document |= {"pipelineId": contract["pipelineId"], "contractVersion": contract["contractVersion"]}
    declared = contract["capabilities"]
    local = ["local"] if declared.get("localTransitionExecution") else []
    document["artifacts"][0] |= {
        "stepIds": [step["authoredName"] for step in contract["steps"]],
        "capabilities": [*local, *declared["transitionWorkerProtocols"]],
    }
    return json.dumps(document, indent=4).encode()


def test_the_command_line_deploys_what_a_person_then_activates(
    desk: Desk, product: RunningProduct, repository: MavenRepository, issuer: OAuthIssuer, v1: BuiltRelease
) -> None:
    acme, staging = product.tenant("acme"), product.tenant("staging-acme")
    desk.describe(archived(repository, v1))
    static = {"TPF_CREDENTIAL_CLOUD": acme.token([Scope.REGISTER], "ci")}
    issuer.clients["robot"] = ("a secret", ["acme"])
    oauth = {
        "TPF_OAUTH_CI_ISSUER": issuer.origin,
        "TPF_OAUTH_CI_CLIENT_ID": "robot",
        "TPF_OAUTH_CI_CLIENT_SECRET": "a secret",
    }

    status, first = desk.deploy("cloud", static)
    assert status == 0, first
    assert (first["status"], first["releaseVersion"]) == ("REGISTERED", "1.0")
    assert desk.deploy("cloud", static) == (0, first)
    assert desk.deploy("oauth-client:ci", oauth) == (0, first)
    status, other = desk.deploy("oauth-client:ci", oauth, environment="staging")
    assert status == 0, other
    assert other["deploymentId"] != first["deploymentId"]
    receipts = {str(each.pk): (each.tenant.slug, each.actor) for each in Deployment.objects.select_related("tenant")}
    assert receipts == {
        first["deploymentId"]: ("acme", "token:ci"),
        other["deploymentId"]: ("staging-acme", "oauth:robot"),
    }
    assert desk.deploy("cloud", {"TPF_CREDENTIAL_CLOUD": "wrong"})[0] == 5
    assert desk.deploy("cloud", {"TPF_CREDENTIAL_CLOUD": acme.token([Scope.READ])})[0] == 5
    assert desk.deploy("cloud", static, environment="staging")[0] == 5
    assert desk.deploy("cloud", static, environment="test")[0] == 6
    desk.describe(archived(repository, v1) + b"\n")
    assert desk.deploy("cloud", static)[0] == 6

    page = acme.get("pipelines/tests.pinned/releases/1.0")
    assert (page["status"], page["active"], page["findings"]) == ("REGISTERED", False, [])
    assert acme.get("pipelines/tests.pinned/activations")["items"] == []
    assert acme.submit("tests.pinned", {"number": 1}, "early").status_code == 409
    release = desk.describe(archived(repository, v1))
    start_hosting(acme, "worker-1", release, f"--artifact={v1.artifact}", directory=desk.folder)
    acme.activate(v1)
    accepted = acme.accepted("tests.pinned", {"number": 1}, "first")
    assert accepted["pin"]["releaseVersion"] == "1.0"
    acme.wait_for(accepted["executionId"], "SUCCEEDED")
    assert acme.result(accepted["executionId"]) == {"number": 1, "made_by": "code v1, attempt 0"}
    acme.stop_workers()
    assert staging.get("pipelines/tests.pinned/activations")["items"] == []
