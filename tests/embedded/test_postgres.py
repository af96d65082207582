import json
from collections.abc import Iterator

import psycopg
import pytest

from embedded.children import ChildError
from embedded.postgres import Postgres


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server
    server.remove()


def test_a_second_server_on_the_same_data_is_an_error(postgres: Postgres) -> None:
    with pytest.raises(ChildError, match="another server uses"):
        Postgres(postgres.folder).start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_no_role_is_a_superuser_or_bypasses_row_security(postgres: Postgres) -> None:
    for url in (postgres.url, postgres.owner_url):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolcreaterole, rolbypassrls, rolreplication FROM pg_roles "
                "WHERE rolname = current_user"
            ).fetchone()
            assert row == (False, False, False, False)


def test_only_the_current_user_can_read_the_passwords(postgres: Postgres) -> None:
    file = postgres.folder / "postgres-passwords.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(set(json.loads(file.read_text()).values())) == 3
