"""Django's PostgreSQL backend, with another check of persistent connections, and another time of closing them.

Django checks a connection with a statement before the first query of every request and task. This backend reads the
socket instead, which costs almost nothing: a server that stops or ends a session sends a message. It sends a statement
only after an error, or after a silence in which a network may have dropped the connection.

Django leaves the connection of a thread that has ended to the garbage collector, which may run much later. This backend
closes it when the thread ends: threads of web processes end when they are idle.

A server that accepts a statement and never answers would block a thread forever. Processes that serve others call
`guard`: their connections wait for a limited time, and refuse a server that another one has replaced. Commands may
take hours and have no limit.

A promoted standby begins a new timeline (ADR 75). A former primary that starts again accepts connections with all rows
that it had, and lacks everything since the promotion. Its timeline is older, so it is refused.

Behind a pooler of transactions, a connection has a session of the database only during a transaction (ADR 71). The
setting POOLER of the connection is then "transaction".
"""

import logging
import math
import os
import random
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.postgresql import base

from foundation.telemetry.metrics import Counter

log = logging.getLogger(__name__)
refused: Final = Counter(
    "coordinator_database_servers_refused_total", "Connections to database servers that another server has replaced."
)
_IDENTITY = """
SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
FROM pg_control_system() WHERE NOT pg_is_in_recovery()
"""
_LISTS = ("host", "hostaddr", "port")
Connect = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Server:
    """A primary: the system identifier of its cluster, and its timeline."""

    system: int
    timeline: int

    def __str__(self) -> str:
        return f"timeline {self.timeline} of system {self.system}"


class Timelines:
    """The newest primary that this process has seen or heard of. Safe to use from many threads.

    `recall` returns the newest timeline of a system that other processes have seen, or 0. It is asked once, at the
    first connection, so that a process that starts does not begin with a former primary.
    """

    def __init__(self, recall: Callable[[int], int]) -> None:
        self._lock = threading.Lock()
        self._recall = recall
        self.newest: Server | None = None

    def admit(self, server: Server) -> Server | None:
        """Return the server as it is remembered; None if it is older than the newest, or belongs to another cluster."""
        recalled = 0 if self.newest else self._recall(server.system)
        with self._lock:
            newest = self.newest or Server(server.system, recalled)
            is_newer = server.system == newest.system and server.timeline > newest.timeline
            self.newest = server if is_newer else newest
            return self.newest if self.newest == server else None


class Chooser:
    """Connects to the first host that answers and is not refused. Starts with the primary that it used last.

    Its connections wait for each answer for at most `answer_seconds`; None is without a limit.
    """

    def __init__(self, timelines: Timelines, *, answer_seconds: float | None) -> None:
        self.timelines = timelines
        self.is_refusing = False
        self.answer_seconds = answer_seconds
        self._preferred = 0

    def connect(self, parameters: Mapping[str, Any], connect: Connect) -> tuple[Any, Server | None]:
        """Return a connection and its server; None for a standby, and for a server that does not know its timeline.

        Raises the error of the last host.
        """
        attempts = each_host(parameters)
        order = [(self._preferred + place) % len(attempts) for place in range(len(attempts))]
        if parameters.get("load_balance_hosts") == "random":
            random.shuffle(order)
        for last, place in enumerate(order, start=1 - len(order)):
            try:
                created = connect(attempts[place])
                created.wait = partial(created.wait, timeout=self.answer_seconds)
                server = self._admitted(created)
            except psycopg.Error:
                if not last:
                    raise
                continue
            if server is not None:
                self._preferred = place
            return created, server
        raise AssertionError  # there is always a host

    def _admitted(self, created: Any) -> Server | None:
        """Return the server of a new connection. Close the connection and raise `OperationalError` if it is refused."""
        try:
            found = _server_of(created)
            server = found and self.timelines.admit(found)
        except BaseException:
            created.close()
            raise
        self.is_refusing = found is not None and server is None
        if found is None or server is not None:
            return server
        message = _refusal(created, found, self.timelines.newest)
        created.close()
        refused.add()
        log.error("%s", message)
        raise psycopg.OperationalError(message)


def each_host(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters for each host, as libpq understands its lists: a single port is the port of all hosts."""
    lists = {name: str(parameters[name]).split(",") for name in _LISTS if parameters.get(name)}
    count = max((len(values) for values in lists.values()), default=1)
    return [
        {**parameters, **{name: values[min(place, len(values) - 1)] for name, values in lists.items()}}
        for place in range(count)
    ]


def _refusal(created: Any, found: Server, newest: Server | None) -> str:
    return (
        f"Refused the database server {created.info.host}:{created.info.port} on {found}: this process knows {newest}."
        " Stop the server. If the database was moved, restart this process."
    )


def _server_of(created: Any) -> Server | None:
    created.autocommit = True
    try:
        row = created.execute(_IDENTITY).fetchone()
    except (psycopg.ProgrammingError, psycopg.NotSupportedError):
        return None  # a managed service may lack these functions
    return Server(*row) if row else None


LONGEST_SILENCE = 10.0
LEAST_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Limited:
    """Waits for an answer until `deadline`, at least for LEAST_ANSWER_SECONDS and at most for `most` seconds."""

    wait: Callable[..., Any]
    deadline: float
    most: float

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        left = max(self.deadline - time.monotonic(), LEAST_ANSWER_SECONDS)
        return self.wait(*arguments, **{**options, "timeout": min(left, self.most)})


class _Lease:
    """Closes a connection when this object is deleted."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._process = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._process:  # a forked process never uses the connection of its parent
            self._connection.close()


class _Leases(threading.local):
    """The leases of the current thread, deleted when it ends."""

    def __init__(self) -> None:
        self.held: WeakKeyDictionary[DatabaseWrapper, _Lease] = WeakKeyDictionary()


_leases = _Leases()


class DatabaseWrapper(base.DatabaseWrapper):
    chooser: ClassVar[Chooser | None] = None
    _used_at = 0.0
    _server: Server | None = None
    _deadline: float | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if self.chooser is None:
            created = super().get_new_connection(conn_params)
        else:
            created, self._server = self.chooser.connect(conn_params, super().get_new_connection)
        self._limit_waits(created)
        if not self.allow_thread_sharing:  # a connection that several threads share outlives each of them
            _leases.held[self] = _Lease(created)
        return created

    @property
    def is_pooled(self) -> bool:
        """True if each transaction may run in another session of the database."""
        return bool(self.settings_dict.get("POOLER") == "transaction")

    def chunked_cursor(self) -> Any:
        """Return a cursor for `QuerySet.iterator`: in the server, unless it would outlive its transaction and session.

        A cursor that is not in the server reads all rows at once.
        """
        return super().chunked_cursor() if self.in_atomic_block or not self.is_pooled else self.cursor()

    def is_usable(self) -> bool:
        """Return False if the connection is known to be lost. Never raises."""
        now = time.monotonic()
        silent = now - self._used_at > LONGEST_SILENCE
        self._used_at = now
        if self._server is not None and self._is_replaced(self._server):
            return False
        try:
            return super().is_usable() if silent or self.errors_occurred or self._has_news() else True
        except (psycopg.Error, OSError, ValueError):
            # The connection or its descriptor is invalid: Django closes it and opens another.
            return False

    @contextmanager
    def answered_until(self, deadline: float) -> Iterator[None]:
        """Wait for no answer in the block beyond `deadline`, a time of the monotonic clock.

        Each statement may take LEAST_ANSWER_SECONDS. After that it fails like one to a silent server (`guard`), for
        example because it waits for a lock.
        """
        self._deadline = deadline
        self.ensure_connection()
        self._limit_waits(self.connection)
        try:
            yield
        finally:
            self._deadline = None
            current: Any = self.connection
            if current is not None and isinstance(current.wait, _Limited):
                current.wait = current.wait.wait

    def _limit_waits(self, created: Any) -> None:
        if self._deadline is not None and not isinstance(created.wait, _Limited):
            most = (self.chooser and self.chooser.answer_seconds) or math.inf
            created.wait = _Limited(created.wait, self._deadline, most)

    def _is_replaced(self, server: Server) -> bool:
        """Return True if the server is refused by now. A pooler may have moved the connection to another server."""
        if self.chooser is None:
            return False
        return server is not self.chooser.timelines.newest or (self.chooser.is_refusing and self.is_pooled)

    def _has_news(self) -> bool:
        """Return True if the server has sent something: an idle session receives only notices and its end."""
        connection: Any = self.connection
        if connection is None or connection.closed:
            return True
        # Unlike select(2), poll(2) accepts descriptors above 1023.
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
        return bool(socket.poll(0))


def guard(chooser: Chooser | None) -> None:
    """Let `chooser` choose the servers of the connections that this process will open, and limit their waits.

    When a wait is over, the statement fails with `OperationalError` and the connection is lost. The server may still
    carry out the statement: a commit that waits for a silent standby has taken place.
    """
    DatabaseWrapper.chooser = chooser
