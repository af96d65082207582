import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 30.0


def until_blocked(connection: Any, *, ended: Callable[[], bool] = lambda: False) -> int:
    """Wait until another session waits for a lock that `connection` holds; return the backend pid of that session.

    Fails the test if nothing waits within PATIENCE_SECONDS, or if `ended` returns True.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < deadline and not ended():
            # pg_stat_activity would not change within a transaction.
            cursor.execute("SELECT pid FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)) LIMIT 1")
            row = cursor.fetchone()
            if row:
                return int(row[0])
            time.sleep(0.01)
    raise AssertionError("no session waits for this connection")
