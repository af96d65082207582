from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenancy.models import Tenant
from tests import making
from tests.executions.conftest import broken_broker
from tests.executions.transports.rest.conftest import flow, order_release, serve
from tests.interop.client import switch_on
from tests.interop.deploying import Deployer, published, token
from tests.maven_repository import MavenRepository, maven_repository
from tests.oauth_issuer import issuer

__all__ = ["broken_broker", "flow", "issuer", "order_release", "serve"]


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
    return published(repository)


@pytest.fixture
def deployer(owner: Tenant) -> Deployer:
    return Deployer(owner.slug, token(owner))
