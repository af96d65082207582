from typing import Any

import pytest
from django.db import connection

from executions.models import ExecutionEvent
from foundation.database.postgresql.base import DatabaseWrapper
from foundation.database.postgresql.url import connection_settings
from tests import making
from tests.cases import cases
from tests.raw_sql import check_foreign_keys_now, refused, run
from tests.servers import ORDINARY_URL

pytestmark = pytest.mark.django_db


def ask(url: str, sql: str = "SELECT 1") -> str:
    """Send `sql` to the server at `url`, with the settings that the product makes of it."""
    made: Any = DatabaseWrapper({**connection.settings_dict, **connection_settings(url)}, "default")
    try:
        with made.cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0])
    finally:
        made.close()


def test_options_reach_the_session() -> None:
    url = f"{ORDINARY_URL}?options=-c%20statement_timeout%3D1234&application_name=app"
    assert [ask(url, f"SHOW {name}") for name in ("application_name", "statement_timeout")] == ["app", "1234ms"]


def test_the_parts_of_the_url_are_decoded() -> None:
    settings = connection_settings("postgres://us%40er:p%2Fw@db.example:5433/my%20db")
    assert settings == {
        "ENGINE": "foundation.database.postgresql",
        "NAME": "my db",
        "USER": "us@er",
        "PASSWORD": "p/w",
        "HOST": "db.example",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "verify-full"},
    }


@cases("host", ["", "localhost", "127.0.0.1", "[::1]", "127.0.0.1:1,127.0.0.2:2"])
def test_this_machine_needs_no_tls(host: str) -> None:
    assert connection_settings(f"postgresql://{host}/name")["OPTIONS"] == {}
    assert connection_settings("postgresql:///name?host=/run/postgresql")["HOST"] == "/run/postgresql"
    assert connection_settings("postgresql://127.0.0.1,db.example/name")["OPTIONS"] == {"sslmode": "verify-full"}


@cases(
    ("query", "message"),
    [
        ("password=secret&sslmode=require", "not supported: password"),
        ("sslmode=secret", "wrong sslmode: it must be one of"),
        ("connect_timeout=secret", "wrong connect_timeout: it must be a whole number"),
        ("sslrootcert=/secret", "wrong sslrootcert: there is no such file"),
        ("sslmode=require&sslmode=disable", "a parameter twice"),
    ],
)
def test_wrong_parameters_are_refused_by_name(query: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        connection_settings(f"postgresql://h/n?{query}")
    assert "secret" not in str(caught.value)


def test_every_function_has_a_fixed_search_path() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
        )
        functions = dict(cursor.fetchall())
    assert {"guard_history", "guard_activation", "worker_clock", "count_running_for_claim"} <= functions.keys()
    fixed = "search_path=pg_catalog, public, pg_temp"
    assert {name: config for name, config in functions.items() if fixed not in (config or ())} == {}


def test_a_temporary_table_does_not_allow_history_to_be_deleted() -> None:
    owner, _ = making.ready()
    execution = making.execution(owner)
    check_foreign_keys_now()
    run("CREATE TEMPORARY TABLE executions_execution (id uuid) ON COMMIT DROP")
    sql = "DELETE FROM executions_executionevent WHERE execution_id = %s"
    assert refused(sql, execution.pk) == "event_append_only"
    assert ExecutionEvent.objects.filter(execution_id=execution.pk).count() == 1
