"""The web process and the control worker refuse to run as a role with more rights than they need."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests
from django.conf import settings

from embedded.children import Child
from embedded.postgres import OWNER, PRODUCT, Postgres
from embedded.product import Product
from foundation.database.postgresql.roles import application_dangers, owner_faults
from tests.cases import cases
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


@pytest.fixture(scope="module")
def superuser(cluster: Postgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cluster.superuser_url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE thing (id int); ALTER TABLE thing OWNER TO coordinator_owner")
        yield connection


def test_the_roles_of_a_local_cluster_have_no_faults(superuser: psycopg.Connection) -> None:
    assert application_dangers(superuser.execute, PRODUCT) == []
    assert owner_faults(superuser.execute, OWNER) == []


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
    predefined = [f"pg_{name}" for name in ("execute_server_program", "maintain", "read_all_data", "signal_backend")]
    predefined += [f"pg_{name}" for name in ("create_subscription", "read_server_files", "write_server_files")]
    for name in made:
        superuser.execute(f"CREATE ROLE {name} {name.removeprefix('may_')}".encode())
    superuser.execute(f"GRANT {', '.join(made + predefined)} TO coordinator".encode())
    try:
        assert application_dangers(superuser.execute, PRODUCT) == [
            f"is a member of {', '.join(sorted(made + predefined))}"
        ]
    finally:
        superuser.execute(f"DROP ROLE {', '.join(made)}".encode())
        superuser.execute(f"REVOKE {', '.join(predefined)} FROM coordinator".encode())


def product(cluster: Postgres, folder: Path, url: str, **more: str) -> Product:
    servers = {"DATABASE_URL": url, "REDIS_URL": settings.CELERY_BROKER_URL}
    return Product(folder, servers, {"SECRET_KEY": settings.SECRET_KEY, **more})


def wait_for_refusal(child: Child, refusal: str) -> None:
    """Wait for the text in the log. On a busy machine, granian may restart its worker instead of ending."""
    eventually(lambda: refusal in child.log.read_text(), what=refusal)


OWNER_REFUSED = "The database role coordinator_owner must not run this process: it owns tables; it owns the database"


def test_the_control_worker_refuses_the_owner(superuser: psycopg.Connection, cluster: Postgres, tmp_path: Path) -> None:
    own = product(cluster, tmp_path, cluster.owner_url)
    try:
        worker = own.start_control_worker()
        assert worker.wait(30) != 0
        assert OWNER_REFUSED in worker.log_tail()
    finally:
        own.stop()


def test_set_role_does_not_hide_the_role_that_logged_in(
    superuser: psycopg.Connection, cluster: Postgres, tmp_path: Path
) -> None:
    """RESET ROLE would return to the role that logged in."""
    superuser.execute("GRANT coordinator TO coordinator_owner; ALTER ROLE coordinator_owner SET role = coordinator")
    own = product(cluster, tmp_path, cluster.owner_url)
    try:
        wait_for_refusal(own.start_web(), OWNER_REFUSED)
    finally:
        own.stop()
        superuser.execute("ALTER ROLE coordinator_owner RESET role; REVOKE coordinator FROM coordinator_owner")


def test_the_setting_turns_the_check_off(
    superuser: psycopg.Connection, cluster: Postgres, tmp_path: Path, gathered_static_files: str
) -> None:
    own = product(cluster, tmp_path, cluster.owner_url, DATABASE_ROLE_CHECK="false", STATIC_ROOT=gathered_static_files)
    try:
        own.start_web()
        # It is not ready, because the database has no tables.
        eventually(lambda: status_of(own, "live") == 200, what="the start")
        assert status_of(own, "ready") == 503
    finally:
        own.stop()


def status_of(own: Product, probe: str) -> int | None:
    """Return the status of the response of a probe, or None if there is no response."""
    try:
        return requests.get(f"{own.url}/health/{probe}", timeout=5).status_code
    except requests.RequestException:
        return None


def test_a_process_that_starts_before_its_database_checks_the_first_connection(tmp_path: Path) -> None:
    late = Postgres(tmp_path / "late", durable=False)
    own = product(late, tmp_path, late.owner_url)
    try:
        web = own.start_web()
        eventually(lambda: "is checked at the first connection" in web.log_tail(), what="the start")
        late.start()
        # The process also connects to report itself, and may have ended.
        assert status_of(own, "ready") in {503, None}
        wait_for_refusal(web, "The database role coordinator_owner must not run this process")
    finally:
        own.stop()
        late.remove()
