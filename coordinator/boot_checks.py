"""What must hold before a process works: the database's role, its standby, its migrations and its connections.

Web processes and control workers check this when they start, and `coordinator check --deploy --database=default` shows
it with stable ids. Triggers and rights restrict only an ordinary role. A bug, or an attacker who can run SQL, must not
be able to alter tables or disable triggers. The audit log records that a process started with other settings than the
one before.
"""

import itertools
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, ProgrammingError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils.crypto import salted_hmac
from psycopg.errors import UndefinedTable

from coordinator import settings as module
from foundation.database.postgresql.roles import application_dangers, application_weaknesses
from tenancy import audit
from tenancy.audit import chain
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)
EXTRA_THREADS: Final = 2
"""In addition to its worker threads, a process has one thread that dispatches and briefly one that checks health."""
GRANIAN_BACKLOG: Final = 1024
_DURABILITY: Final = "SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit')"
_LIMIT: Final = """
SELECT least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())),
    (SELECT sum(numbackends) - 1 FROM pg_stat_database)
"""


def problems(connected: BaseDatabaseWrapper) -> Iterator[checks.CheckMessage]:
    """Yield what prevents the use of the database, and what an administrator should look at.

    The migrations may be missing until `coordinator migrate` has run, so `pending` returns them separately.
    """
    yield from _standby(connected)
    if settings.DATABASE_ROLE_CHECK:
        yield from _roles(connected)


def _standby(connected: BaseDatabaseWrapper) -> Iterator[checks.CheckMessage]:
    """Yield an error if commits do not wait for a standby although the settings require that."""
    if not settings.DATABASE_REQUIRES_SYNCHRONOUS_STANDBY:
        return
    with connected.cursor() as cursor:
        cursor.execute(_DURABILITY)
        standbys, commit = cursor.fetchone()
    if not standbys or commit not in ("on", "remote_apply"):
        yield checks.Error(
            "DATABASE_REQUIRES_SYNCHRONOUS_STANDBY is true, but the database does not wait for a standby: it has"
            f" synchronous_standby_names={standbys!r} and synchronous_commit={commit!r}.",
            id="coordinator.E001",
        )


def _roles(connected: BaseDatabaseWrapper) -> Iterator[checks.CheckMessage]:
    """Yield errors for excessive privileges of the session's role, and of the role that logged in."""
    with connected.cursor() as cursor:
        cursor.execute("SELECT DISTINCT unnest(ARRAY[session_user, current_user]::text[])")
        for (role,) in cursor.fetchall():
            if dangers := application_dangers(cursor.execute, role):
                yield checks.Error(
                    f"The database role {role} must not run this process: it {'; it '.join(dangers)}."
                    " Run coordinator setup_database, and name an ordinary role in DATABASE_URL."
                    " For development, DATABASE_ROLE_CHECK=false turns this check off.",
                    id="coordinator.E002",
                )
            for weakness in application_weaknesses(cursor.execute, role):
                yield checks.Warning(f"The database role {role} {weakness}", id="coordinator.W001")


def system_check(*, databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """Return all problems of the databases, for Django's command `check`."""
    messages: list[checks.CheckMessage] = []
    for database in (connections[alias] for alias in databases or ()):
        messages += problems(database)
        if missing := pending(database):
            messages.append(checks.Error(described(missing), id="coordinator.E003"))
    return messages


def require_ordinary_role() -> None:
    """End the process if its role has excessive privileges, or the database lacks the required synchronous standby.

    If the database does not answer yet, the check takes place at the first connection. DATABASE_ROLE_CHECK=false
    disables that of the role.
    """
    try:
        connection.ensure_connection()
        check(connection)
    except Error as error:
        log.warning("The database role is checked at the first connection: %s", type(error).__name__)
        connection_created.connect(_check_first)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    finally:
        connection.close()


def check(connected: BaseDatabaseWrapper) -> None:
    """Raise `ImproperlyConfigured` for the first problem that prevents the use of the database. Log the others."""
    for problem in problems(connected):
        if problem.is_serious():
            raise ImproperlyConfigured(problem.msg)
        log.warning("%s", problem.msg)


def _check_first(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Check the first connection of a process that started without a database. Stop the process if the check fails."""
    try:
        check(connection)
    except ImproperlyConfigured as error:
        connection.close()
        log.critical("%s", error)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    connection_created.disconnect(_check_first)


def pending(connected: BaseDatabaseWrapper) -> list[str]:
    """Return the migrations that the database lacks, such as `executions.0001_tables`, in the order of their names.

    A database that has more migrations is fine: it belongs to a newer version, whose migrations keep this one working.
    """
    try:
        with connected.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied = set(cursor.fetchall())
    except ProgrammingError as error:
        if not isinstance(error.__cause__, UndefinedTable):
            raise
        # Nothing was ever applied.
        applied = set()
    return [f"{app}.{name}" for app, name in sorted(shipped() - applied)]


def require_migrations() -> None:
    """End the process if the database lacks migrations. If the database does not answer yet, only log that."""
    try:
        missing = pending(connection)
    except Error as error:
        log.warning("The migrations of the database are not known: %s", type(error).__name__)
    else:
        if missing:
            sys.exit(described(missing))
    finally:
        connection.close()


def described(missing: list[str]) -> str:
    return (
        f"The database lacks {len(missing)} migrations of this version, starting with {missing[0]}."
        " Run coordinator migrate with this version first."
    )


@cache
def shipped() -> frozenset[tuple[str, str]]:
    """Return the migrations of this version, as app labels and names. Their names suffice, so none is imported."""
    folders = ((config.label, Path(config.path, "migrations")) for config in apps.get_app_configs())
    return frozenset(
        (label, file.stem) for label, folder in folders for file in folder.glob("*.py") if file.stem[0] != "_"
    )


def count_connections_soon(*, processes: int, threads: int) -> None:
    """Warn if the processes may open more connections than PostgreSQL accepts. A pooler has its own limits.

    A thread does this, so that an unreachable database does not delay the start.
    """
    if settings.DATABASE_POOLER != "none":
        return
    needed = processes * (threads + EXTRA_THREADS)
    threading.Thread(name="connection-budget", target=has_room_for, args=[needed], daemon=True).start()


def has_room_for(needed: int) -> bool:
    """Log a warning and return False if PostgreSQL does not accept `needed` more connections."""
    connection = connections.create_connection("default")
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LIMIT)
            limit, used = cursor.fetchone()
    except Error as error:
        log.warning("The database's limit of connections is unknown: %s", type(error).__name__)
        return True
    finally:
        connection.close()
    if needed + used <= limit:
        return True
    log.warning(
        "These processes may open %d connections to the database, which has %d open and accepts %d from this role."
        " Raise max_connections, or use fewer threads.",
        needed,
        used,
        limit,
    )
    return False


def granian_workers(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Return granian's number of processes and of threads in each; None if the command line is not granian's."""
    if Path(arguments[0]).name != "granian":
        return None

    def option(name: str) -> int | None:
        flag = f"--{name}"
        values = [value for first, value in itertools.pairwise(arguments) if first == flag]
        values += [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{flag}=")]
        values += [environment.get("GRANIAN_" + name.upper().replace("-", "_"), "")]
        return next((int(value) for value in values if value.isdecimal()), None)

    processes = option("workers") or 1
    backpressure = option("backpressure") or (option("backlog") or GRANIAN_BACKLOG) // processes
    return processes, option("blocking-threads") or max(1, backpressure // 2)


DIGEST_CHARACTERS = 12


def note_settings(process: str) -> None:
    """Append an entry with a digest of each setting, unless that of the last `process` is equal.

    The digests are keyed with SECRET_KEY, so they disclose no value. Without a database, nothing happens.
    """
    actor, now = f"coordinator {process}", digests()
    try:
        newest = chain.entries(None).filter(act=Act.SETTINGS_LOAD, actor=actor).order_by("-sequence").first()
        before: dict[str, Any] = json.loads(newest.details)["digests"] if newest else {}
        if now != before:
            changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
            more: dict[str, Any] = {"changed": changed} if newest else {}
            audit.record(
                Act.SETTINGS_LOAD,
                tenant=None,
                actor=actor,
                object_type="settings",
                object="settings",
                digests=now,
                **more,
            )
    except Error as error:
        log.warning("The settings are not in the audit log: %s", type(error).__name__)
    finally:
        connection.close()


def digests() -> dict[str, str]:
    """Return a digest of each setting that has the same text in each process."""
    texts = {name: repr(getattr(settings, name)) for name in dir(module) if name.isupper()}
    values = {}
    for name, text in texts.items():
        if " at 0x" not in text:
            # The salt is that of all entries in the log.
            digest = salted_hmac("coordinator.settings_record", f"{name}={text}", algorithm="sha256")
            values[name] = digest.hexdigest()[:DIGEST_CHARACTERS]
    return values
