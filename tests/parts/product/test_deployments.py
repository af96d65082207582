"""The framework's deployment command line with the processes of the product and a Maven repository."""

import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
import requests

from embedded.product import PROJECT, Product
from releases.models import Deployment, Release
from tenancy.roles import Scope
from tests import making
from tests.building import eventually
from tests.interop.deploying import MEDIA_TYPE, described, published
from tests.maven_repository import MavenRepository, maven_repository
from tests.oauth_issuer import OAuthIssuer, oauth_issuer
from tests.parts.product.conftest import product_with_own_broker
from tests.running import BuiltRelease, RunningProduct, TenantInUse
from wire.documents.contract import CONTRACT_ENTRY
from wire.worker_keys import worker_key

PROMPT = 2.0
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
    """A copy of the product with the deployment API, and with two slots for requests."""
    settings = {
        "TPF_DEPLOYMENTS_ENABLED": "true",
        "TPF_DEPLOYMENT_ENVIRONMENTS": "production=,staging=staging-",
        "MAVEN_REPOSITORIES": repository.toml(),
        "MAVEN_ALLOWED_NETWORKS": "127.0.0.0/8",
        "OAUTH_SCOPES": "tpf:deploy=releases:register",
        "WEB_SLOTS": "2",
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


def start_worker(tenant: TenantInUse, descriptor: Path, release: BuiltRelease, name: str) -> None:
    """Start a worker that hosts the artifact of a deployed release."""
    product = tenant.product
    child = product.children.start(
        name,
        [
            *(sys.executable, "-m", "pipelines", "worker", f"--release={descriptor}", f"--artifact={release.artifact}"),
            *(f"--worker-id={name}", "--concurrency=1"),
        ],
        environment={
            "PYTHONPATH": str(PROJECT),
            "PIPELINES_TENANT": tenant.tenant.slug,
            "PIPELINES_BROKER_URL": product.broker_url(tenant.tenant.slug),
            "PIPELINES_WORKER_KEY": worker_key(product.environment["WORKER_SECRET"], tenant.tenant.slug).text,
        },
        directory=product.folder,
    )
    tenant.workers.append(child)
    tenant.wait_for_worker(name, "HEALTHY")


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
    start_worker(acme, desk.describe(archived(repository, v1)), v1, "worker-1")
    acme.activate(v1)
    accepted = acme.accepted("tests.pinned", {"number": 1}, "first")
    assert accepted["pin"]["releaseVersion"] == "1.0"
    acme.wait_for(accepted["executionId"], "SUCCEEDED")
    assert acme.result(accepted["executionId"]) == {"number": 1, "made_by": "code v1, attempt 0"}
    acme.stop_workers()
    assert staging.get("pipelines/tests.pinned/activations")["items"] == []


def test_waiting_deployments_leave_the_web_process_to_others(
    product: RunningProduct, repository: MavenRepository
) -> None:
    """Each of them is in a web process with two slots, and no release has a verdict until there is a control worker."""
    acme = product.tenant("acme")
    url = f"{product.url}/api/v1/organizations/acme/applications/orders/environments/production/deployments"
    [control_worker] = [each for each in product.product.children.started if each.name == "control-worker"]
    control_worker.send(SIGKILL)
    control_worker.wait(10)

    def deploy(number: int) -> requests.Response:
        headers = {
            "Authorization": str(acme.http.headers["Authorization"]),
            "Content-Type": MEDIA_TYPE,
            "Idempotency-Key": f"key-{number}",
            "X-TPF-Deployment-Mode": "CUSTOMER_MANAGED",
            # Java's client offers to continue with HTTP/2.
            "Connection": "Upgrade, HTTP2-Settings",
            "Upgrade": "h2c",
            "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
        }
        return requests.post(url, published(repository, f"{number}.0"), headers=headers, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(deploy, number) for number in range(12)]
        eventually(lambda: Release.objects.filter(status="UPLOADED").count() == 12, what="twelve waiting deployments")
        for _ in range(20):
            began = time.monotonic()
            assert requests.get(f"{product.url}/health/ready", timeout=30).ok
            assert len(acme.get(f"pipelines/{making.PIPELINE}/releases")["items"]) == 12
            assert time.monotonic() - began < PROMPT
        assert not any(each.done() for each in waiting)
        product.restore()
        answers = [each.result(60) for each in waiting]
    assert [answer.status_code for answer in answers] == [201] * 12, [answer.text for answer in answers]
    assert len({answer.json()["deploymentId"] for answer in answers}) == 12
