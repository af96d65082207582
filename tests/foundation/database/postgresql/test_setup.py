"""`coordinator setup_database` and `coordinator migrate` set up an installation as documented."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import errors

from embedded.children import ChildError
from embedded.postgres import Postgres
from embedded.product import Product
from tests.cases import cases

DATABASE, OWNER, APPLICATION = "orders", "orders_owner", "orders_app"
OWNER_PASSWORD, APPLICATION_PASSWORD = "owner's-password", "application's-password"
PASSWORDS = {"DATABASE_OWNER_PASSWORD": OWNER_PASSWORD, "DATABASE_APPLICATION_PASSWORD": APPLICATION_PASSWORD}


class Installation:
    """Runs the commands of an operator on one cluster."""

    def __init__(self, cluster: Postgres, folder: Path) -> None:
        self.cluster = cluster
        servers = {"DATABASE_URL": cluster.superuser_url(DATABASE), "REDIS_URL": "redis://127.0.0.1:1/0"}
        self._product = Product(folder, servers, {"DATABASE_APPLICATION_ROLE": APPLICATION})
        documented = {"DATABASE_URL", "DATABASE_APPLICATION_ROLE"}
        kept = {"PATH", "PYTHONPATH", *documented}
        self._product.environment = {name: self._product.environment[name] for name in kept}

    def set_up(self, *options: str, **environment: str) -> str:
        return self._product.manage("setup_database", f"--owner={OWNER}", *options, **environment)

    def migrate(self) -> None:
        self._product.manage("migrate", "--verbosity=0", DATABASE_URL=self.url(OWNER, OWNER_PASSWORD))

    def url(self, user: str, password: str) -> str:
        place = f"{user}:{password}@127.0.0.1:{self.cluster.port}"
        return urlunsplit(urlsplit(self.cluster.superuser_url(DATABASE))._replace(netloc=place))

    def as_application(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(APPLICATION, APPLICATION_PASSWORD), autocommit=True)

    def as_superuser(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.cluster.superuser_url(DATABASE), autocommit=True)


@pytest.fixture(scope="module")
def installation(cluster: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    made = Installation(cluster, tmp_path_factory.mktemp("installation"))
    with psycopg.connect(cluster.superuser_url("postgres")) as connection:
        connection.execute("ALTER ROLE postgres SET log_statement = 'all'")
    made.set_up(**PASSWORDS)
    made.migrate()
    return made


def test_a_new_role_needs_a_password(cluster: Postgres, tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="role orders_owner is new: set DATABASE_OWNER_PASSWORD"):
        Installation(cluster, tmp_path).set_up()
    with psycopg.connect(cluster.superuser_url()) as connection:
        assert connection.execute("SELECT FROM pg_roles WHERE rolname LIKE 'orders%'").rowcount == 0


def test_the_owner_is_not_the_application_role(installation: Installation) -> None:
    with pytest.raises(ChildError, match="The owner and the application role must differ"):
        installation.set_up(f"--owner={APPLICATION}", "--check")


def test_the_application_reads_and_writes_rows_and_calls_functions(installation: Installation) -> None:
    with installation.as_application() as connection:
        connection.execute("INSERT INTO tenancy_tenant (slug, name, created_at) VALUES ('a', 'a', now())")
        assert connection.execute("SELECT worker_clock() = now()").fetchone() == (True,)
        assert connection.execute("SELECT count(*) FROM executions_workereligibility").fetchone() == (0,)
        connection.execute("UPDATE tenancy_tenant SET name = 'b'")


@cases(
    "statement",
    [
        "CREATE TEMPORARY TABLE executions_execution (id uuid)",
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "TRUNCATE executions_executionevent",
        "ALTER TABLE executions_execution DISABLE TRIGGER ALL",
        "DROP FUNCTION guard_history CASCADE",
        "SET ROLE orders_owner",
        "SET session_replication_role = replica",
    ],
)
def test_the_application_has_no_other_rights(installation: Installation, statement: str) -> None:
    with installation.as_application() as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_a_second_run_by_the_superuser_or_the_owner_keeps_passwords_and_data(installation: Installation) -> None:
    assert installation.set_up() == "The database orders is set up for orders_owner and orders_app."
    installation.set_up(DATABASE_URL=installation.url(OWNER, OWNER_PASSWORD))
    with installation.as_application() as connection:
        assert connection.execute("SELECT count(*) FROM django_migrations").fetchone() != (0,)


def test_a_passed_password_replaces_the_old_one_and_is_stored_as_a_digest(installation: Installation) -> None:
    installation.set_up(DATABASE_APPLICATION_PASSWORD="another")
    psycopg.connect(installation.url(APPLICATION, "another")).close()
    installation.set_up(**PASSWORDS)
    installation.as_application().close()
    log = installation.cluster.folder.joinpath("postgres.log").read_text()
    assert 'ALTER ROLE "orders_app" PASSWORD' in log
    assert "another" not in log
    assert APPLICATION_PASSWORD not in log


def test_a_second_run_revokes_foreign_grants(installation: Installation) -> None:
    with installation.as_superuser() as connection:
        connection.execute("GRANT TEMPORARY, CREATE ON DATABASE orders TO PUBLIC")
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        connection.execute("GRANT TRUNCATE ON executions_execution TO orders_app")
        connection.execute("GRANT ALL ON SEQUENCE releases_release_id_seq TO orders_app")
    with pytest.raises(ChildError) as caught:
        installation.set_up("--check")
    for fault in ("temporary tables", "create schemas", "create objects in public", "truncate tables"):
        assert fault in str(caught.value)
    installation.set_up()
    installation.set_up("--check")
    with installation.as_application() as application, pytest.raises(errors.InsufficientPrivilege):
        application.execute("SELECT setval('releases_release_id_seq', 1)")


def test_rights_on_relations_of_extensions_are_kept(installation: Installation) -> None:
    with installation.as_superuser() as connection:
        connection.execute("CREATE TABLE public.of_extension (id int); GRANT SELECT ON public.of_extension TO PUBLIC")
        connection.execute("ALTER EXTENSION plpgsql ADD TABLE public.of_extension")
        installation.set_up()
        with installation.as_application() as application:
            assert application.execute("SELECT FROM public.of_extension").rowcount == 0
        connection.execute("ALTER EXTENSION plpgsql DROP TABLE public.of_extension; DROP TABLE public.of_extension")


def test_faults_that_it_cannot_fix_are_reported(installation: Installation) -> None:
    with installation.as_superuser() as connection:
        connection.execute("CREATE TABLE public.foreign_table (id int); ALTER ROLE orders_app CREATEROLE")
        with pytest.raises(ChildError) as caught:
            installation.set_up()
        connection.execute("DROP TABLE public.foreign_table; ALTER ROLE orders_app NOCREATEROLE")
    assert "orders_owner does not own foreign_table\norders_app has CREATEROLE" in str(caught.value)


def test_an_unreachable_server_gives_a_one_line_error(installation: Installation) -> None:
    with pytest.raises(ChildError, match="Connection refused") as caught:
        installation.set_up(DATABASE_URL="postgresql://postgres:secret@127.0.0.1:1/orders")
    assert "Traceback" not in str(caught.value)
    assert "secret" not in str(caught.value)
