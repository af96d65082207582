"""Warns at the start if the processes may open more connections than PostgreSQL accepts."""

import itertools
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.conf import settings
from django.db import Error, connections

log = logging.getLogger(__name__)
# In addition to its worker threads, a process has one thread that dispatches and briefly one that checks health.
EXTRA_THREADS = 2
GRANIAN_BACKLOG = 1024

_LIMIT = """
SELECT least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())),
    (SELECT sum(numbackends) - 1 FROM pg_stat_database)
"""


def check_soon(*, processes: int, threads: int) -> None:
    """Check in a thread, so that an unreachable database does not delay the start. A pooler has its own limits."""
    if settings.DATABASE_POOLER != "none":
        return
    needed = processes * (threads + EXTRA_THREADS)
    threading.Thread(name="connection-budget", target=check, args=[needed], daemon=True).start()


def check(needed: int) -> bool:
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
        *(needed, used, limit),
    )
    return False


def granian_workers(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Return granian's number of processes and of threads in each; None if the command line is not granian's."""
    if Path(arguments[0]).name != "granian":
        return None

    def option(name: str) -> int | None:
        flag = f"--{name}"
        values = [value for first, value in itertools.pairwise(arguments) if first == flag]
        values += [each.partition("=")[2] for each in arguments if each.startswith(f"{flag}=")]
        values += [environment.get("GRANIAN_" + name.upper().replace("-", "_"), "")]
        return next((int(value) for value in values if value.isdecimal()), None)

    processes = option("workers") or 1
    backpressure = option("backpressure") or (option("backlog") or GRANIAN_BACKLOG) // processes
    return processes, option("blocking-threads") or max(1, backpressure // 2)
