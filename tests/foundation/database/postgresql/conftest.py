"""Fixtures: a dedicated cluster, whose roles and databases these tests may change."""

from collections.abc import Iterator

import pytest

from embedded.postgres import Postgres


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("cluster"), durable=False)
    server.start()
    yield server
    server.remove()
