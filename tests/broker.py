"""Reads what was really sent to the broker."""

from queue import Empty
from typing import Any

from django.conf import settings
from kombu import Connection


def taken(queue: str) -> list[tuple[str, list[Any]]]:
    """Task name and arguments of every message in `queue`, oldest first; they are removed."""
    found: list[tuple[str, list[Any]]] = []
    with Connection(settings.CELERY_BROKER_URL) as connection, connection.SimpleQueue(queue) as waiting:
        while True:
            try:
                message = waiting.get_nowait()
            except Empty:
                return found
            message.ack()
            arguments, _, _ = message.payload
            found.append((message.headers["task"], arguments))
