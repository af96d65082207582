"""The compatibility surface, switched on, and the order flow."""

from pathlib import Path
from typing import Any

import pytest

from tenancy.models import Tenant
from tests import making
from tests.concurrency.conftest import committed
from tests.executions.transports.rest.conftest import broken_broker, flow, serve
from tests.interop.client import switch_on

__all__ = ["broken_broker", "committed", "flow", "serve"]


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
