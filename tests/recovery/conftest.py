"""Fixtures: a cluster of the recovery tests' own, and a scene in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.building import BuiltRelease, build
from tests.recovery.cluster import Cluster
from tests.recovery.scene import WORKER, Scene

PIPELINES = Path(__file__).parent / "pipelines"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.set_up()
        yield made
    finally:
        made.tear_down()


@pytest.fixture
def cluster(whole: Cluster) -> Iterator[Cluster]:
    """Every process runs when a test begins, and none may have ended but by the test's hand."""
    whole.restore()
    yield whole
    assert whole.fallen() == {}


@pytest.fixture(scope="session")
def gated(whole: Cluster, tmp_path_factory: pytest.TempPathFactory) -> BuiltRelease:
    whole.restore()
    release = build("gated:pipeline", PIPELINES / "gated", tmp_path_factory.mktemp("gated"), "1.0")
    whole.publish(release)
    whole.client().activate(release.pipeline_id, release.version, "")
    return release


@pytest.fixture
def scene(cluster: Cluster, gated: BuiltRelease, tmp_path: Path) -> Iterator[Scene]:
    cluster.host(WORKER, gated)
    cluster.restore()
    cluster.client().wait_for_worker(WORKER)
    yield Scene(cluster, gated, tmp_path)
    cluster.dismiss(WORKER)
