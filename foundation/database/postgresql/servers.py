"""Which server a process connects to, and how long it waits for answers.

A server that accepts a statement and never answers would block a thread forever. Processes that serve others call
`guard`: their connections wait for a limited time, and refuse a server that another one has replaced. Commands may
take hours and have no limit.

A promoted standby begins a new timeline (ADR 75). A former primary that starts again accepts connections with all rows
that it had, and lacks everything since the promotion. Its timeline is older, so it is refused.

The clock loads this and no model, so nothing here uses Django's database backends.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg

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
            connected = _server_of(created)
            server = connected and self.timelines.admit(connected)
        except BaseException:
            created.close()
            raise
        self.is_refusing = connected is not None and server is None
        if connected is None or server is not None:
            return server
        message = _refusal(created, connected, self.timelines.newest)
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


def _refusal(created: Any, server: Server, newest: Server | None) -> str:
    return (
        f"Refused the database server {created.info.host}:{created.info.port} on {server}: this process knows {newest}."
        " Stop the server. If the database was moved, restart this process."
    )


def _server_of(created: Any) -> Server | None:
    created.autocommit = True
    try:
        row = created.execute(_IDENTITY).fetchone()
    except (psycopg.ProgrammingError, psycopg.NotSupportedError):
        return None  # a managed service may lack these functions
    return Server(*row) if row else None


chooser: Chooser | None = None
"""Chooses the servers of the connections of this process, if something guards it."""


def guard(choose: Chooser | None) -> None:
    """Let a chooser choose the servers of the connections that this process will open, and limit their waits.

    When a wait is over, the statement fails with `OperationalError` and the connection is lost. The server may still
    carry out the statement: a commit that waits for a silent standby has taken place.
    """
    global chooser
    chooser = choose


def connect(parameters: Mapping[str, Any], connect: Connect) -> tuple[Any, Server | None]:
    """Return a connection that `connect` opened to a server, and this server if it is known (`Chooser.connect`)."""
    return (connect(dict(parameters)), None) if chooser is None else chooser.connect(parameters, connect)


def short_connection(database: Mapping[str, Any]) -> Any:
    """Connect with the settings of a database of Django, without its backend. Commits each statement.

    Raises `psycopg.Error`.
    """
    members = {name: database[name.upper()] for name in ("user", "password", "host", "port") if database[name.upper()]}
    parameters = {"dbname": database["NAME"], "client_encoding": "UTF8", **members, **database["OPTIONS"]}
    created, _ = connect(parameters, lambda options: psycopg.connect(**options, cursor_factory=psycopg.ClientCursor))
    created.autocommit = True
    return created
