"""The parameters of `DATABASE_URL` take effect, and a server on another machine must have a verified certificate."""

from typing import Any

import pytest
from django.db import connection

from foundation.database.postgresql.base import DatabaseWrapper
from foundation.database.postgresql.url import connection_settings
from tests.cases import cases
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
    found = connection_settings("postgres://us%40er:p%2Fw@db.example:5433/my%20db")
    assert found == {
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
