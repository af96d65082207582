"""Waits until another connection is blocked by a lock of this one."""

import time
from typing import Any

PATIENCE_SECONDS = 30.0


def until_blocked(connection: Any) -> None:
    """Return once a statement of another connection waits for a lock that `connection` holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            # pg_stat_activity would not change within a transaction.
            cursor.execute("SELECT count(*) FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("no session waits for this connection")
