"""The framework's deployment client with the processes of the product and a Maven repository."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from releases.models import Deployment
from tenancy.roles import Scope
from tests.interop.deploying import described
from tests.maven_repository import MavenRepository, maven_repository
from tests.oauth_issuer import OAuthIssuer, oauth_issuer
from tests.parts.clients.tpf_client import cloud
from tests.parts.clients.tpf_client.closure import ResolverProfile
from tests.parts.clients.tpf_client.cloud import CloudTarget
from tests.parts.clients.tpf_client.failures import NotAuthorised, TargetFailed
from tests.parts.product.conftest import product_with_own_broker, start_hosting
from tests.running import BuiltRelease, RunningProduct
from wire.documents.contract import CONTRACT_ENTRY

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


def archived(repository: MavenRepository, release: BuiltRelease) -> bytes:
    """Publish the artifact of a pipeline in Python. Return a descriptor that the framework's client accepts."""
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


def test_a_client_deploys_what_a_person_then_activates(
    product: RunningProduct, repository: MavenRepository, issuer: OAuthIssuer, v1: BuiltRelease, tmp_path: Path
) -> None:
    acme, staging = product.tenant("acme"), product.tenant("staging-acme")
    release = archived(repository, v1)
    variables = {
        "TPF_CREDENTIAL_CI": acme.token([Scope.REGISTER], "ci"),
        "TPF_CREDENTIAL_WRONG": "wrong",
        "TPF_CREDENTIAL_READER": acme.token([Scope.READ]),
        "TPF_OAUTH_CI_ISSUER": issuer.origin,
        "TPF_OAUTH_CI_CLIENT_ID": "robot",
        "TPF_OAUTH_CI_CLIENT_SECRET": "a secret",
    }
    issuer.clients["robot"] = ("a secret", ["acme"])

    def deploy(credential: str, environment: str = "production", data: bytes = release) -> str:
        target = CloudTarget(product.url, "acme", "Order service", environment, credential)
        return cloud.deploy(data, target, ResolverProfile((repository.url,), file=False), variables)

    first = deploy("ci")
    assert deploy("ci") == deploy("oauth-client:ci") == first
    other = deploy("oauth-client:ci", "staging")
    receipts = {str(each.pk): (each.tenant.slug, each.actor) for each in Deployment.objects.select_related("tenant")}
    assert receipts == {first: ("acme", "token:ci"), other: ("staging-acme", "oauth:robot")}
    for credential, environment in (("wrong", "production"), ("reader", "production"), ("ci", "staging")):
        with pytest.raises(NotAuthorised):
            deploy(credential, environment)
    for environment, data in (("test", release), ("production", release + b"\n")):
        with pytest.raises(TargetFailed):
            deploy("ci", environment, data)

    page = acme.get("pipelines/tests.pinned/releases/1.0")
    assert (page["status"], page["active"], page["findings"]) == ("REGISTERED", False, [])
    assert acme.get("pipelines/tests.pinned/activations")["items"] == []
    assert acme.submit("tests.pinned", {"number": 1}, "early").status_code == 409
    descriptor = tmp_path / "pipeline-release.json"
    descriptor.write_bytes(release)
    start_hosting(acme, "worker-1", descriptor, f"--artifact={v1.artifact}", directory=tmp_path)
    acme.activate(v1)
    accepted = acme.accepted("tests.pinned", {"number": 1}, "first")
    assert accepted["pin"]["releaseVersion"] == "1.0"
    acme.wait_for(accepted["executionId"], "SUCCEEDED")
    assert acme.result(accepted["executionId"]) == {"number": 1, "made_by": "code v1, attempt 0"}
    acme.stop_workers()
    assert staging.get("pipelines/tests.pinned/activations")["items"] == []
