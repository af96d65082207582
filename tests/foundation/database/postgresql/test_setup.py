from collections.abc import Iterator
from io import StringIO
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.test import override_settings
from psycopg import errors
from pytest_django import DjangoDbBlocker

from embedded.postgres import Postgres
from foundation.database.postgresql.roles import application_weaknesses
from tests.foundation.database.postgresql.conftest import django_at

DATABASE, OWNER, APPLICATION = "orders", "orders_owner", "orders_app"
OWNER_PASSWORD, APPLICATION_PASSWORD = "owner's-password", "application's-password"
PASSWORDS = {"DATABASE_OWNER_PASSWORD": OWNER_PASSWORD, "DATABASE_APPLICATION_PASSWORD": APPLICATION_PASSWORD}


class Installation:
    """Runs the commands of an operator on one cluster."""

    def __init__(self, cluster: Postgres) -> None:
        self.cluster = cluster

    def set_up(
        self, *options: str, user: tuple[str, str] | None = None, passwords: dict[str, str] | None = None
    ) -> str:
        output = StringIO()
        url = self.url(*user) if user else self.cluster.superuser_url(DATABASE)
        with django_at(url), override_settings(DATABASE_APPLICATION_ROLE=APPLICATION, **(passwords or {})):
            call_command("setup_database", f"--owner={OWNER}", *options, stdout=output)
        return output.getvalue().strip()

    def migrate(self) -> None:
        """Migrate one app with its requirements, which takes less time than all of them."""
        with django_at(self.url(OWNER, OWNER_PASSWORD)), override_settings(DATABASE_APPLICATION_ROLE=APPLICATION):
            call_command("migrate", "tenancy", verbosity=0)
        ContentType.objects.clear_cache()

    def url(self, user: str, password: str) -> str:
        place = f"{user}:{password}@127.0.0.1:{self.cluster.port}"
        return urlunsplit(urlsplit(self.cluster.superuser_url(DATABASE))._replace(netloc=place))

    def as_application(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(APPLICATION, APPLICATION_PASSWORD), autocommit=True)

    def as_superuser(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.cluster.superuser_url(DATABASE), autocommit=True)


@pytest.fixture(scope="module", autouse=True)
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module")
def installation(cluster: Postgres, unblocked: None) -> Installation:
    made = Installation(cluster)
    with psycopg.connect(cluster.superuser_url("postgres")) as connection:
        connection.execute("ALTER ROLE postgres SET log_statement = 'all'")
    with pytest.raises(CommandError, match="role orders_owner is new: set DATABASE_OWNER_PASSWORD"):
        made.set_up()
    made.set_up(passwords=PASSWORDS)
    made.migrate()
    return made


def test_the_owner_is_not_the_application_role(installation: Installation) -> None:
    with pytest.raises(CommandError, match="The owner and the application role must differ"):
        installation.set_up(f"--owner={APPLICATION}", "--check")


def test_the_application_reads_and_writes_rows_and_has_no_other_rights(installation: Installation) -> None:
    with installation.as_application() as connection:
        connection.execute("INSERT INTO tenancy_tenant (slug, name, created_at) VALUES ('a', 'a', now())")
        connection.execute("UPDATE tenancy_tenant SET name = 'b'")
        for statement in (
            "CREATE TEMPORARY TABLE tenancy_tenant (id uuid)",
            "CREATE TABLE mine (id int)",
            "TRUNCATE tenancy_auditentry",
            "ALTER TABLE tenancy_auditentry DISABLE TRIGGER ALL",
            "SET ROLE orders_owner",
            "SET session_replication_role = replica",
            "SELECT lo_create(0)",
            "SELECT lo_from_bytea(0, 'x')",
            "SET log_error_verbosity = verbose",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_a_second_run_by_the_superuser_or_the_owner_keeps_passwords_and_data(installation: Installation) -> None:
    assert installation.set_up() == "The database orders is set up for orders_owner and orders_app."
    installation.set_up(user=(OWNER, OWNER_PASSWORD))
    with installation.as_application() as connection:
        assert connection.execute("SELECT count(*) FROM django_migrations").fetchone() != (0,)


def test_a_second_run_revokes_foreign_grants(installation: Installation) -> None:
    with installation.as_superuser() as connection:
        connection.execute("GRANT TEMPORARY, CREATE ON DATABASE orders TO PUBLIC")
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        connection.execute("GRANT TRUNCATE ON tenancy_tenant TO orders_app")
        connection.execute("GRANT ALL ON SEQUENCE tenancy_tenant_id_seq TO orders_app")
    with pytest.raises(CommandError) as caught:
        installation.set_up("--check")
    for fault in ("temporary tables", "create schemas", "create objects in public", "truncate tables"):
        assert fault in str(caught.value)
    installation.set_up()
    installation.set_up("--check")
    with installation.as_application() as application, pytest.raises(errors.InsufficientPrivilege):
        application.execute("SELECT setval('tenancy_tenant_id_seq', 1)")


def test_faults_that_it_cannot_fix_are_reported(installation: Installation) -> None:
    with installation.as_superuser() as connection:
        connection.execute("CREATE TABLE public.foreign_table (id int); ALTER ROLE orders_app CREATEROLE")
        with pytest.raises(CommandError) as caught:
            installation.set_up()
        connection.execute("DROP TABLE public.foreign_table; ALTER ROLE orders_app NOCREATEROLE")
    assert "orders_owner does not own foreign_table\norders_app has CREATEROLE" in str(caught.value)


def test_a_refused_change_writes_no_row_into_the_log(installation: Installation) -> None:
    with installation.as_application() as connection, pytest.raises(errors.CheckViolation):
        connection.execute(
            "INSERT INTO tenancy_tenant (slug, name, created_at, quota_workers) VALUES ('b', 'a-payload', now(), -1)"
        )
    log = (installation.cluster.logs / "postgres.log").read_text()
    assert "violates check constraint" in log
    assert "Failing row" not in log


def test_what_the_application_role_has_changed_about_itself_is_reported(installation: Installation) -> None:
    installation.set_up("--check")
    with installation.as_application() as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET statement_timeout = 1")
        connection.execute("SET statement_timeout = 0")
        [weakness] = application_weaknesses(connection.execute, APPLICATION)
        connection.execute("ALTER ROLE CURRENT_USER RESET ALL")
    assert weakness == "has separate settings (statement_timeout=1): ALTER ROLE ... RESET ALL"
