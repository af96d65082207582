import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from celery import signals
from django.db import connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper as Djangos
from django.db.models import F, QuerySet
from django.test.utils import CaptureQueriesContext

from coordinator.celery import app
from embedded.product import PROJECT
from executions.models import Execution
from foundation.database import prepared
from foundation.database.compiled import Compiled
from foundation.database.postgresql import base
from foundation.database.threads import keep_connections_by_thread
from tests import making
from tests.building import eventually
from tests.concurrency.sessions import race, results_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def kept() -> Iterator[base.DatabaseWrapper]:
    """A separate connection, outside of the test's transaction, with health checks as in production."""
    made: Any = connections.create_connection("default")
    assert isinstance(made, base.DatabaseWrapper)
    made.connect()
    made.health_check_enabled = True  # type: ignore[attr-defined]  # not in the stubs
    yield made
    made.close()


def session(kept: base.DatabaseWrapper) -> int:
    kept.close_if_unusable_or_obsolete()
    with kept.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def meanwhile(sql: str, *parameters: Any) -> int:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
        return other.execute(sql.encode(), parameters).rowcount


def test_a_recent_connection_is_not_checked(kept: base.DatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    first = session(kept)
    monkeypatch.delattr(Djangos, "is_usable")  # it would send a statement
    with CaptureQueriesContext(kept) as caught:
        assert [session(kept) for _ in range(3)] == [first] * 3
    assert len(caught) == 3


def test_a_connection_that_the_server_has_ended_is_replaced(kept: base.DatabaseWrapper) -> None:
    first = session(kept)
    meanwhile("SELECT pg_terminate_backend(%s, 5000)", first)
    assert session(kept) != first


def test_a_task_replaces_the_connection_of_its_thread_if_the_server_has_ended_it() -> None:
    def run_a_task() -> None:
        local: Any = connections["default"]
        meanwhile("SELECT pg_terminate_backend(%s, 5000)", session(local))
        signals.task_prerun.send(sender=app)
        local.cursor().execute("SELECT 1")

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run_a_task).result()


FORKED = """
import gc, os, django
django.setup()
from django.db import connection, connections

def used():
    connection.health_check_enabled = True
    connection.close_if_unusable_or_obsolete()
    connection.cursor().execute("SELECT 1")
    return connection.connection

first = used()
if os.fork() == 0:
    del connections["default"]
    gc.collect()
    os._exit(0)
os.wait()
assert used() is first
"""


def test_a_forked_process_leaves_the_session_of_its_parent_open() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "coordinator.settings"}
    command = [sys.executable, "-c", FORKED]
    subprocess.run(command, env=environment, cwd=PROJECT, check=True, timeout=60)


@pytest.mark.parametrize("keep", [bool, keep_connections_by_thread], ids=["as Django does", "without asyncio"])
def test_the_session_of_a_thread_ends_with_it(keep: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector may run much later."""
    here: Any = connections["default"]
    monkeypatch.setattr(connections, "_connections", getattr(connections, "_connections"))  # noqa: B009
    here.ensure_connection()
    keep()
    sessions: list[int] = []
    thread = threading.Thread(target=lambda: sessions.append(session(connections["default"])))  # type: ignore[arg-type]
    gc.disable()
    try:
        thread.start()
        thread.join()
        assert connections["default"] is here
        assert sessions != [here.connection.info.backend_pid]
        open_sessions = "SELECT FROM pg_stat_activity WHERE pid = %s"
        eventually(lambda: meanwhile(open_sessions, sessions[0]) == 0, what="the end of the session", seconds=5)
    finally:
        gc.enable()


def by_key(tenant: int, key: str) -> QuerySet[Execution]:
    rows = Execution.objects.filter(tenant_id=tenant, execution_key=key, input_shape="UNI")
    return rows.select_related("tenant", "release__pipeline").annotate(slug=F("tenant__slug")).defer("result")


def members(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "_state"}


def test_the_rows_are_those_of_the_queryset_with_all_that_it_joins_and_defers() -> None:
    owners = [making.ready()[0] for _ in range(2)]
    for owner in owners:
        making.execution(owner, "one", {"name": "\u00e9"})
        making.execution(owner, "two", [1, None])
    compiled = Compiled(by_key, tenant=-1, key="?")
    for owner in owners:
        for key in ("one", "two", "three"):
            with CaptureQueriesContext(connection) as queries:
                rows, expected = compiled.rows(tenant=owner.pk, key=key), list(by_key(owner.pk, key))
            assert len(queries) == 2
            assert list(map(members, rows)) == list(map(members, expected))
            assert [members(row.release.pipeline) for row in rows] == [
                members(row.release.pipeline) for row in expected
            ]
            assert [row.get_deferred_fields() for row in rows] == [{"result"}] * len(expected)
    assert compiled.first(tenant=owners[0].pk, key="three") is None


def test_a_parameter_that_the_sql_does_not_contain_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="key"):
        Compiled(lambda tenant, key: Execution.objects.filter(tenant_id=tenant), tenant=-1, key="?").rows(
            tenant=1, key="a"
        )


def test_the_database_plans_a_statement_once_for_all_values() -> None:
    texts = ["SELECT %(number)s::int"] * 3 + ["SELECT sum(custom_plans) FROM pg_prepared_statements"]
    [results] = results_of(race(lambda: [prepared.rows(text, {"number": 1}) for text in texts]))
    assert results[-1] == [(0,)]
