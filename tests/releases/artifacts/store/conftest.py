from pathlib import Path

import pytest

from releases.artifacts.local_store import LocalArtifactStore
from tests.releases.artifacts.store.bench import Bench, LocalBench, RemoteBench, S3Bench
from tests.s3 import S3Place

REMOTE = [pytest.param("s3", marks=pytest.mark.xdist_group("s3_server"))]


@pytest.fixture
def local(tmp_path: Path) -> LocalBench:
    store = LocalArtifactStore(tmp_path / "store")
    store.set_up()
    return LocalBench(store)


@pytest.fixture
def s3(s3_place: S3Place, tmp_path: Path) -> S3Bench:
    return S3Bench(s3_place, tmp_path / "scratch")


@pytest.fixture(params=["local", *REMOTE])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each store in turn: a test with this fixture holds for all of them."""
    made: Bench = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest) -> RemoteBench:
    made: RemoteBench = request.getfixturevalue(request.param)
    return made
