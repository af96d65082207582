from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from embedded.postgres import Postgres
from foundation.database.postgresql.url import connection_settings


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("cluster"), durable=False)
    server.start()
    yield server
    server.remove()


@contextmanager
def django_at(url: str) -> Iterator[None]:
    connection.close()
    before = connection.settings_dict
    connection.settings_dict = {**before, **connection_settings(url)}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = before
