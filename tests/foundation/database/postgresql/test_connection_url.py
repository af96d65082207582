"""The parameters of `DATABASE_URL` take effect, and the certificate of a server on another machine is verified."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from embedded.children import free_port
from embedded.product import PROJECT
from foundation.database.postgresql.url import PARAMETERS, connection_settings
from tests.cases import cases
from tests.foundation.database.postgresql.tls_front import Authority, TlsFront
from tests.servers import ORDINARY_URL

PROGRAM = """
import django, sys
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(sys.argv[1])
    print(cursor.fetchone()[0])
"""
URL = urlsplit(ORDINARY_URL)
CREDENTIALS = f"{URL.username}:{URL.password}"


def ask(url: str, sql: str = "SELECT 1") -> "subprocess.CompletedProcess[str]":
    """Run a process that sends `sql` to the server at `url` with the product's settings."""
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "coordinator.settings"}
    command = [sys.executable, "-c", PROGRAM, sql]
    return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=60)


class SilentPort:
    """A port that accepts connections and sends nothing."""

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture
def front(authority: Authority) -> Iterator[TlsFront]:
    """A server with a certificate for db.example and 127.0.0.1."""
    assert URL.port is not None
    made = TlsFront(authority.server("db.example"), URL.port)
    yield made
    made.close()


def url(front: TlsFront, host: str = "127.0.0.1", **parameters: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgresql://{CREDENTIALS}@{host}:{front.port}{URL.path}?{query}"


@cases("mode", ["require", "verify-ca", "verify-full"])
def test_a_certificate_of_the_named_authority_is_accepted(front: TlsFront, authority: Authority, mode: str) -> None:
    done = ask(url(front, sslmode=mode, sslrootcert=authority.file))
    assert (done.stdout, front.encrypted) == ("1\n", 1), done.stderr


def test_a_certificate_of_another_authority_is_refused(front: TlsFront, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    done = ask(url(front, sslmode="verify-full", sslrootcert=other.file))
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr


def test_a_certificate_for_another_name_is_refused(front: TlsFront, authority: Authority) -> None:
    done = ask(url(front, "localhost", sslmode="verify-full", sslrootcert=authority.file))
    assert done.returncode != 0
    assert 'does not match host name "localhost"' in done.stderr


def test_a_server_on_another_machine_is_verified_by_default(front: TlsFront, authority: Authority) -> None:
    """`hostaddr` gives the address, so the host name is only verified and never resolved."""
    here = {"hostaddr": "127.0.0.1", "sslrootcert": authority.file}
    assert ask(url(front, "db.example", **here)).stdout == "1\n"
    assert "does not match host name" in ask(url(front, "other.example", **here)).stderr
    assert ask(url(front, "other.example", **here, sslmode="require")).stdout == "1\n"
    assert front.encrypted == 3


def test_a_server_without_tls_is_refused_if_it_is_another_machine(authority: Authority) -> None:
    place = f"postgresql://{CREDENTIALS}@db.example:{URL.port}{URL.path}?hostaddr=127.0.0.1"
    assert "server does not support SSL" in ask(f"{place}&sslrootcert={authority.file}").stderr
    assert ask(f"{place}&sslmode=disable").stdout == "1\n"


def test_options_reach_the_session() -> None:
    found = ask(f"{ORDINARY_URL}?options=-c%20statement_timeout%3D1234&application_name=app", "SHOW statement_timeout")
    assert found.stdout == "1234ms\n"
    found = ask(f"{ORDINARY_URL}?application_name=coordinator-web", "SHOW application_name")
    assert found.stdout == "coordinator-web\n"


def test_several_hosts_are_tried_in_turn() -> None:
    place = f"127.0.0.1:{free_port()},127.0.0.1:{URL.port}"
    found = ask(f"postgresql://{CREDENTIALS}@{place}{URL.path}?target_session_attrs=read-write", "SHOW port")
    assert found.stdout == f"{URL.port}\n", found.stderr


def test_the_connect_timeout_applies_to_a_silent_server() -> None:
    with SilentPort() as port:
        began = time.monotonic()
        done = ask(f"postgresql://{CREDENTIALS}@127.0.0.1:{port}/x?connect_timeout=2")
    assert "timeout expired" in done.stderr
    assert time.monotonic() - began < 30


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
        ("colour=red&sslmode=require&passfile=x", "not supported: colour, passfile"),
        ("password=secret", "not supported: password"),
        ("sslmode=secret", "wrong sslmode: it must be one of"),
        ("target_session_attrs=secret", "wrong target_session_attrs"),
        ("connect_timeout=secret", "wrong connect_timeout: it must be a whole number"),
        ("sslrootcert=/secret", "wrong sslrootcert: there is no such file"),
        ("sslmode=require&sslmode=disable", "a parameter twice"),
        ("sslmode=%zz", "must be a URL"),
    ],
)
def test_wrong_parameters_are_refused_by_name(query: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        connection_settings(f"postgresql://h/n?{query}")
    assert "secret" not in str(caught.value)


def test_every_parameter_is_documented() -> None:
    page = (PROJECT / "docs" / "runbooks" / "operations.md").read_text()
    assert [name for name in sorted(PARAMETERS) if f"`{name}`" not in page] == []
