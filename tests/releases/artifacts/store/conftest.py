from pathlib import Path

import pytest

from releases.artifacts.store import LocalArtifactStore, S3ArtifactStore
from tests.releases.artifacts.store.bench import Bench, LocalBench, S3Bench


@pytest.fixture
def local(tmp_path: Path) -> LocalBench:
    store = LocalArtifactStore(tmp_path / "store")
    store.set_up()
    return LocalBench(store)


@pytest.fixture
def s3(request: pytest.FixtureRequest, tmp_path: Path) -> S3Bench:
    return S3Bench(S3ArtifactStore(request.getfixturevalue("s3_place"), tmp_path / "scratch"))


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3_server"))])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each store in turn: a test with this fixture holds for both."""
    made: Bench = request.getfixturevalue(request.param)
    return made
