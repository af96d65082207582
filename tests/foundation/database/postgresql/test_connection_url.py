"""The parameters of `DATABASE_URL` take effect, and the certificate of a server on another machine is verified."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import OperationalError, connection

from foundation.database.postgresql.base import DatabaseWrapper
from foundation.database.postgresql.url import connection_settings
from tests.cases import cases
from tests.foundation.database.postgresql.tls_front import Authority, TlsFront
from tests.servers import ORDINARY_URL

pytestmark = pytest.mark.django_db
URL = urlsplit(ORDINARY_URL)
CREDENTIALS = f"{URL.username}:{URL.password}"


def ask(url: str, sql: str = "SELECT 1") -> str:
    """Send `sql` to the server at `url`, with the settings that the product makes of it."""
    made: Any = DatabaseWrapper({**connection.settings_dict, **connection_settings(url)}, "default")
    try:
        with made.cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0])
    finally:
        made.close()


def refusal(url: str) -> str:
    with pytest.raises(OperationalError) as caught:
        ask(url)
    return str(caught.value)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module")
def front(authority: Authority) -> Iterator[TlsFront]:
    """A server with a certificate for db.example and 127.0.0.1."""
    assert URL.port is not None
    made = TlsFront(authority.server("db.example"), URL.port)
    yield made
    made.close()


VERIFIED = "sslmode=verify-full&"
HERE = "hostaddr=127.0.0.1&"  # the host name is verified, but never resolved


@cases(
    ("host", "query", "trusted", "error"),
    [
        ("127.0.0.1", "sslmode=verify-ca&", True, ""),
        ("127.0.0.1", VERIFIED, False, "certificate verify failed"),
        ("localhost", VERIFIED, True, 'does not match host name "localhost"'),
        ("db.example", HERE, True, ""),
        ("other.example", HERE, True, "does not match host name"),
        ("other.example", f"{HERE}sslmode=require&", True, ""),
    ],
)
def test_the_certificate_of_a_server_on_another_machine_is_verified(
    front: TlsFront, authority: Authority, other: Authority, host: str, query: str, trusted: bool, error: str
) -> None:
    root = authority.file if trusted else other.file
    url = f"postgresql://{CREDENTIALS}@{host}:{front.port}{URL.path}?{query}sslrootcert={root}"
    before = front.encrypted
    if error:
        assert error in refusal(url)
    else:
        assert (ask(url), front.encrypted) == ("1", before + 1)


def test_options_reach_the_session() -> None:
    url = f"{ORDINARY_URL}?options=-c%20statement_timeout%3D1234&application_name=app"
    assert [ask(url, f"SHOW {name}") for name in ("application_name", "statement_timeout")] == ["app", "1234ms"]


def test_a_server_without_tls_is_refused_if_it_is_another_machine(authority: Authority) -> None:
    place = f"postgresql://{CREDENTIALS}@db.example:{URL.port}{URL.path}?hostaddr=127.0.0.1"
    assert "server does not support SSL" in refusal(f"{place}&sslrootcert={authority.file}")
    assert ask(f"{place}&sslmode=disable") == "1"


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
