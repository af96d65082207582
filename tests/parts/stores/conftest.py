from pathlib import Path

import pytest

from tests.parts.stores.emulators import (
    AzureBench,
    AzurePlace,
    GoogleBench,
    GooglePlace,
    azure_place,
    azure_server,
    google_place,
    google_server,
)
from tests.releases.artifacts.store.bench import RemoteBench
from tests.releases.artifacts.store.conftest import s3

__all__ = ["azure_place", "azure_server", "google_place", "google_server", "s3"]


@pytest.fixture
def gcs(google_place: GooglePlace, tmp_path: Path) -> GoogleBench:
    return GoogleBench(google_place, tmp_path / "scratch")


@pytest.fixture
def azure(azure_place: AzurePlace, tmp_path: Path) -> AzureBench:
    return AzureBench(azure_place, tmp_path / "scratch")


@pytest.fixture(params=["gcs", "azure"])
def bench(request: pytest.FixtureRequest) -> RemoteBench:
    made: RemoteBench = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def remote(bench: RemoteBench) -> RemoteBench:
    return bench
