"""Connections of threads, without asyncio."""

import threading
from typing import Any

from django.db import connections


def keep_connections_by_thread() -> None:
    """Let Django find the connections of this process by thread only. Call this before other threads use any.

    Otherwise each use (a submission has eight) looks for an event loop first, with two more calls of Python
    functions and an exception. No thread that uses connections runs an event loop.
    """
    by_thread = threading.local()
    for used in connections.all(initialized_only=True):
        setattr(by_thread, used.alias, used)
    handler: Any = connections
    handler._connections = by_thread
