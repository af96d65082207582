"""The compatibility surface, switched on, and the order flow."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executions.transports.rest.workers import register
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.conftest import committed
from tests.executions.transports.rest.conftest import broken_broker, serve
from tests.executions.transports.rest.order_flow import PIPELINE, Flow
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS, StrictWorker
from tests.interop.client import switch_on
from tests.interop.deploying import Deployer, published, token
from tests.maven_repository import MavenRepository, maven_repository
from tests.oauth_issuer import issuer
from wire.worker_keys import worker_key

__all__ = ["broken_broker", "committed", "issuer", "serve"]


@pytest.fixture(scope="module")
def order_release(module_world: None) -> Release:
    """An active release of the order flow, for all tests of the module."""
    return making.active(making.tenant(), pipeline_id=PIPELINE, steps=CONTRACT_STEPS, transport="REST")


@pytest.fixture
def flow(db: None, order_release: Release, serve: Callable[[StrictWorker], StrictWorker], settings: Any) -> Flow:
    """The order flow with a worker that is checked."""
    release = Release.objects.select_related("pipeline__tenant").get(pk=order_release.pk)
    owner = release.pipeline.tenant
    secret = worker_key(settings.WORKER_SECRET, owner.slug).text
    double = serve(StrictWorker(PIPELINE, release.contract_version, release.release_version, secret))
    settings.REST_WORKER_ORIGINS = [double.origin]
    settings.REST_WORKER_TIMEOUT_SECONDS = 5
    at = {"worker_id": "java-1", "protocol": "rest", "endpoint": double.endpoint}
    made = Flow(owner, release, double, register(owner, release.identity, **at, actor="user:test"))
    made.check()
    double.requests.clear()
    return made


@pytest.fixture
def tpf(settings: Any) -> None:
    switch_on(settings)


@pytest.fixture
def root(tmp_path: Path, settings: Any) -> Path:
    switch_on(settings)
    folder = tmp_path / "releases"
    folder.mkdir()
    settings.TPF_RELEASE_ROOTS = [folder]
    return folder


@pytest.fixture
def owner() -> Tenant:
    return making.tenant()


@pytest.fixture
def repository(settings: Any) -> Iterator[MavenRepository]:
    """A Maven repository, and the deployment API, which does not wait for verdicts."""
    settings.TPF_DEPLOYMENTS_ENABLED = True
    settings.TPF_DEPLOYMENT_WAIT_SECONDS = 0
    settings.STATIC_ROOT.mkdir(exist_ok=True)
    with maven_repository() as made:
        made.configure(settings)
        yield made


@pytest.fixture
def document(repository: MavenRepository) -> bytes:
    """The descriptor of a published JAR."""
    return published(repository)


@pytest.fixture
def deployer(owner: Tenant) -> Deployer:
    """A client of the deployment API with an API token of the tenant."""
    return Deployer(owner.slug, token(owner))
