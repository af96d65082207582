import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.signals import connection_created
from pytest_django import DjangoDbBlocker

from coordinator.boot_checks import require_ordinary_role
from embedded.children import free_port
from embedded.postgres import OWNER, PRODUCT, Postgres
from embedded.product import Product
from foundation.database.postgresql.roles import application_dangers
from tests.cases import cases
from tests.foundation.database.postgresql.conftest import django_at
from tests.running import eventually

ROLE, DATABASE = "coordinator", "ON DATABASE coordinator"
DANGERS = {
    **{
        f"has {attribute}": (f"ALTER ROLE {ROLE} {attribute}", f"ALTER ROLE {ROLE} NO{attribute}")
        for attribute in ("SUPERUSER", "BYPASSRLS", "CREATEROLE", "REPLICATION")
    },
    **{
        danger: (f"GRANT {right} TO {to}", f"REVOKE {right} FROM {to}")
        for danger, right, to in (
            ("is a member of pg_write_all_data", "pg_write_all_data", ROLE),
            ("may create temporary tables", f"TEMPORARY {DATABASE}", "PUBLIC"),
            ("may create schemas", f"CREATE {DATABASE}", ROLE),
            ("may create objects in public", "CREATE ON SCHEMA public", "PUBLIC"),
            ("may truncate tables or add triggers", "TRIGGER ON thing", ROLE),
        )
    },
    **{
        f"owns {what}": tuple(f"ALTER {sql} OWNER TO {owner}" for owner in (ROLE, OWNER))
        for what, sql in (("tables", "TABLE thing"), ("the database", "DATABASE coordinator"))
    },
    f"is a member of {OWNER}": (
        f"REVOKE {ROLE} FROM {OWNER}; GRANT {OWNER} TO {ROLE} WITH INHERIT FALSE",
        f"REVOKE {OWNER} FROM {ROLE}; GRANT {ROLE} TO {OWNER}",
    ),
}
OWNER_REFUSED = "The database role coordinator_owner must not run this process: it owns tables; it owns the database"


@pytest.fixture(scope="module")
def superuser(cluster: Postgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cluster.superuser_url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE thing (id int); ALTER TABLE thing OWNER TO coordinator_owner")
        yield connection


@cases("danger", DANGERS)
def test_each_danger_is_reported(superuser: psycopg.Connection, danger: str) -> None:
    give, take = DANGERS[danger]
    superuser.execute(give.encode())
    try:
        assert danger in application_dangers(superuser.execute, PRODUCT)
    finally:
        superuser.execute(take.encode())
    assert application_dangers(superuser.execute, PRODUCT) == []


def test_a_member_of_any_strong_role_is_reported(superuser: psycopg.Connection) -> None:
    made = [f"may_{attribute}" for attribute in ("bypassrls", "createrole", "replication", "superuser")]
    known = [f"pg_{name}" for name in ("execute_server_program", "maintain", "read_all_data", "signal_backend")]
    known += [f"pg_{name}" for name in ("create_subscription", "read_server_files", "write_server_files")]
    for name in made:
        superuser.execute(f"CREATE ROLE {name} {name.removeprefix('may_')}".encode())
    superuser.execute(f"GRANT {', '.join(made + known)} TO coordinator".encode())
    try:
        assert application_dangers(superuser.execute, PRODUCT) == [f"is a member of {', '.join(sorted(made + known))}"]
    finally:
        superuser.execute(f"DROP ROLE {', '.join(made)}".encode())
        superuser.execute(f"REVOKE {', '.join(known)} FROM coordinator".encode())


@pytest.fixture
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def test_the_owner_is_refused(superuser: psycopg.Connection, cluster: Postgres, unblocked: None, settings: Any) -> None:
    """RESET ROLE would return to the role that logged in. The setting turns the check off."""
    superuser.execute("GRANT coordinator TO coordinator_owner; ALTER ROLE coordinator_owner SET role = coordinator")
    try:
        with django_at(cluster.owner_url):
            with pytest.raises(SystemExit, match=OWNER_REFUSED):
                require_ordinary_role()
            ids = [message.id for message in run_checks(include_deployment_checks=True, databases=["default"])]
            assert {"coordinator.E002", "coordinator.E003"} <= set(ids), "no migration was applied here"
            settings.DATABASE_ROLE_CHECK = False
            require_ordinary_role()
    finally:
        superuser.execute("ALTER ROLE coordinator_owner RESET role; REVOKE coordinator FROM coordinator_owner")


def test_the_first_connection_is_checked(superuser: psycopg.Connection, cluster: Postgres, unblocked: None) -> None:
    superuser.execute("GRANT CONNECT ON DATABASE coordinator TO coordinator")
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    receivers = [*connection_created.receivers]
    try:
        with django_at(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"):
            require_ordinary_role()
        with django_at(cluster.owner_url), pytest.raises(ImproperlyConfigured, match=OWNER_REFUSED):
            connection.ensure_connection()
        assert ended == [signal.SIGTERM]
        with django_at(cluster.url):
            connection.ensure_connection()
        with django_at(cluster.owner_url):
            connection.ensure_connection()  # only the first connection is checked
    finally:
        signal.signal(signal.SIGTERM, before)
        connection_created.receivers = receivers


def test_the_web_and_control_refuse_the_owner(superuser: psycopg.Connection, cluster: Postgres, tmp_path: Path) -> None:
    servers = {"DATABASE_URL": cluster.owner_url, "REDIS_URL": settings.CELERY_BROKER_URL}
    product = Product(tmp_path, servers, {"SECRET_KEY": settings.SECRET_KEY})
    try:
        worker, web = product.start_control_worker(), product.start_web()
        assert worker.wait(30) != 0
        assert OWNER_REFUSED in worker.log_tail()
        # On a busy machine, granian may restart its worker instead of ending.
        eventually(lambda: OWNER_REFUSED in web.log.read_text(), what="the refusal")
    finally:
        product.stop()
