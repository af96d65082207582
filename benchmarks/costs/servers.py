"""Counts what PostgreSQL and Valkey do, in statistics of the servers."""

from typing import Any, Final

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from redis import Redis

SETTINGS: Final = {
    # `track_functions` counts calls of triggers. Nothing may run in the background, and no page is logged as a whole.
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "on",
    "track_functions": "pl",
    "autovacuum": "off",
    "full_page_writes": "off",
    "checkpoint_timeout": "1h",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
"""Settings of the server with which its statistics are the same each time."""
_FLUSH: Final = "SELECT pg_stat_force_next_flush()"
_READ: Final = """
SELECT s.*, d.xact_commit + d.xact_rollback AS transactions, t.triggers, pg_stat_force_next_flush()
FROM (
    SELECT sum(calls)::bigint AS statements, sum(shared_blks_hit + shared_blks_read)::bigint AS buffers,
        sum(wal_bytes)::bigint AS wal_bytes
    FROM pg_stat_statements(false) WHERE userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
) s, pg_stat_database d, (
    SELECT coalesce(sum(pg_stat_get_function_calls(oid)), 0)::bigint AS triggers
    FROM pg_proc WHERE prorettype = 'trigger'::regtype
) t WHERE d.datname = current_database()
"""
_VACUUM: Final = """
VACUUM (ANALYZE, INDEX_CLEANUP ON) executions_execution, executions_executionevent, executions_worker,
    executions_workerevent, executions_deadletter, executions_finishedcount
"""
_COLUMNS: Final = ("statements", "buffers", "wal_bytes", "transactions", "triggers")


class Servers:
    """Reads the statistics as superuser. Create it before the product connects to the database."""

    def __init__(self, database: str, broker: str) -> None:
        self.connection = psycopg.connect(database, autocommit=True)
        self.connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self._broker = Redis.from_url(broker)
        self._connections: list[BaseDatabaseWrapper] = []
        connection_created.connect(self._on_connection)

    def _on_connection(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        if connection not in self._connections:
            self._connections.append(connection)

    def vacuum(self) -> None:
        """Remove dead rows, which scans would otherwise read, in the tables that every kind of work changes."""
        self.connection.execute(_VACUUM)
        self.connection.execute(_FLUSH)  # otherwise its transactions count later

    def read(self) -> dict[str, int]:
        """Return the figures since the servers started."""
        for connection in self._connections:
            if connection.connection is not None and not connection.connection.closed:
                connection.connection.execute(_FLUSH)
        row = self.connection.execute(_READ).fetchone()
        if row is None:
            raise RuntimeError("PostgreSQL has no statistics.")
        return dict(zip(_COLUMNS, row[: len(_COLUMNS)], strict=True)) | self._read_broker()

    def _read_broker(self) -> dict[str, int]:
        commands: Any = self._broker.info("commandstats")
        calls = sum(command["calls"] for name, command in commands.items() if name != "cmdstat_info")
        stats: Any = self._broker.info("stats")
        return {"broker_commands": calls, "broker_bytes": stats["total_net_input_bytes"]}
