"""Statements that the database plans once instead of each time: for the few that run many times a second.

Planning the larger of them takes the database as long as executing them. A plan is kept for a few seconds only, since
one that was made while a table was small goes on as if it still were.
"""

import time
from typing import Any

import psycopg
from django.db import connection
from django.db.backends.utils import CursorWrapper

KEPT_SECONDS = 5


class _Cursor(psycopg.Cursor[Any]):
    """Binds its parameters in the server, and has the statement prepared there."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        # Another text is another plan; psycopg drops the oldest of a hundred.
        return super().execute(f"{query}/* {int(time.monotonic() / KEPT_SECONDS)} */", params, **options, prepare=True)


def cursor() -> CursorWrapper:
    """A cursor on the current connection and in its transaction; raises what Django's own cursors raise."""
    connection.ensure_connection()
    made: Any = _Cursor(connection.connection)
    return connection.make_debug_cursor(made) if connection.queries_logged else connection.make_cursor(made)
