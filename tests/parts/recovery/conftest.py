from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.building import BuiltRelease, build, eventually
from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.scenario import WORKER, Scenario

FOLDER = Path(__file__).parent
PIPELINES = FOLDER / "pipelines"
SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests more time: the first one starts all servers and processes, perhaps on a busy machine."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.timeout(SECONDS), append=False)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.set_up()
        yield cluster
    finally:
        cluster.tear_down()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster with every member running. Fails tests in which a member ended unexpectedly."""
    shared_cluster.restore()
    yield shared_cluster
    assert shared_cluster.ended_members() == {}


@pytest.fixture(scope="session")
def gated(shared_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> BuiltRelease:
    shared_cluster.restore()
    release = build("gated:pipeline", PIPELINES / "gated", tmp_path_factory.mktemp("gated"), "1.0")
    shared_cluster.activate(WORKER, release)
    shared_cluster.remove(WORKER)
    return release


@pytest.fixture
def scenario(cluster: Cluster, gated: BuiltRelease, tmp_path: Path) -> Iterator[Scenario]:
    """Afterwards nothing of a test that failed can hold up the next one: neither its executions nor its workers."""
    permanent = cluster.members
    cluster.host(WORKER, gated)
    cluster.restore()
    # The coordinator may still list the worker of the test before.
    eventually(partial(cluster.accepts_commands, WORKER), seconds=60, what="a worker that accepts commands")
    scenario = Scenario(cluster, gated, tmp_path)
    yield scenario
    scenario.open_gates()
    for name in set(cluster.members) - set(permanent):
        cluster.remove(name)
