"""Django's PostgreSQL backend, but for how it finds out whether a kept connection is still good.

Django asks the server, a statement before the first of every request and task. A server that stops or ends a session
says so on the connection, which costs nothing to look for. Only after an error, or a silence in which a network may
have lost the connection without a word, is the server asked.
"""

import select
import time
from typing import Any

from django.db.backends.postgresql import base

LONGEST_SILENCE = 10.0


class DatabaseWrapper(base.DatabaseWrapper):
    _used_at = 0.0

    def is_usable(self) -> bool:
        """Whether the connection is good, as far as can be known before it is used."""
        now = time.monotonic()
        silent = now - self._used_at > LONGEST_SILENCE
        self._used_at = now
        return super().is_usable() if silent or self.errors_occurred or self._has_news() else True

    def _has_news(self) -> bool:
        """An idle session gets nothing to read but a farewell or a notice."""
        connection: Any = self.connection
        if connection is None or connection.closed:
            return True
        return bool(select.select([connection.fileno()], [], [], 0)[0])
