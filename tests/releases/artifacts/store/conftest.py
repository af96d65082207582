from pathlib import Path

import pytest

from releases.artifacts.store.local import LocalArtifactStore
from tests.azure import AzurePlace, azure_place, azure_server
from tests.google import GooglePlace, google_place, google_server
from tests.releases.artifacts.store.bench import AzureBench, Bench, GoogleBench, LocalBench, RemoteBench, S3Bench
from tests.s3 import S3Place

__all__ = ["azure_place", "azure_server", "google_place", "google_server"]


@pytest.fixture
def local(tmp_path: Path) -> LocalBench:
    store = LocalArtifactStore(tmp_path / "store")
    store.set_up()
    return LocalBench(store)


@pytest.fixture
def s3(s3_place: S3Place, tmp_path: Path) -> S3Bench:
    return S3Bench(s3_place, tmp_path / "scratch")


@pytest.fixture
def gcs(google_place: GooglePlace, tmp_path: Path) -> GoogleBench:
    return GoogleBench(google_place, tmp_path / "scratch")


@pytest.fixture
def azure(azure_place: AzurePlace, tmp_path: Path) -> AzureBench:
    return AzureBench(azure_place, tmp_path / "scratch")


REMOTE = [pytest.param(name, marks=pytest.mark.xdist_group(f"{name}_server")) for name in ("s3", "gcs", "azure")]


@pytest.fixture(params=["local", *REMOTE])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each store in turn: a test with this fixture holds for all of them."""
    made: Bench = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest) -> RemoteBench:
    """Each store on a server in turn."""
    made: RemoteBench = request.getfixturevalue(request.param)
    return made
