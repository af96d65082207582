import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from celery import current_app
from django.conf import settings
from kombu import Connection
from redis import Redis

from wire.messages.task_messages import TaskMessages


def broker_urls() -> dict[str, str]:
    """Return the environment variables with this process's broker URLs, for processes of the product."""
    return {name: os.environ[name] for name in ("REDIS_URL", "REDIS_OWNER_URL") if name in os.environ}


def owner_url() -> str:
    return os.environ.get("REDIS_OWNER_URL") or os.environ["REDIS_URL"]


def spare_urls() -> tuple[str, str]:
    """Return the URLs of a broker database that the running product does not read, and the owner's URL of it."""
    number = (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + 8) % 15
    url, owner = (
        urlunsplit(urlsplit(base)._replace(path=f"/{number}")) for base in (os.environ["REDIS_URL"], owner_url())
    )
    return url, owner


def taken(queue: str, url: str | None = None) -> list[tuple[str, list[Any]]]:
    """Consume all messages in `queue`. Return the task name and the arguments of each, oldest first."""
    messages: list[tuple[str, list[Any]]] = []
    with Redis.from_url(url or settings.CELERY_BROKER_URL) as redis:
        while text := redis.rpop(queue):
            assert isinstance(text, bytes)
            _, header, body = text.split(b"\n", 2)
            messages.append((json.loads(header)["task"], json.loads(body)[0]))
    return messages


def accepting(task: str, url: str | None = None, **options: Any) -> Connection:
    """Return a connection that accepts messages of `task` from every queue, signed or not.

    `options` are transport options.
    """
    messages = TaskMessages(accepts=lambda _queue, name: name == task, unsigned=[task])
    return Connection(url or settings.CELERY_BROKER_URL, transport_options={"messages": messages, **options})


@contextmanager
def using_broker(url: str) -> Iterator[None]:
    """Send messages of this process to the broker at `url` during the block."""
    before = current_app.conf.broker_url
    _use(url)
    try:
        yield
    finally:
        _use(before)


def _use(url: str) -> None:
    app: Any = current_app
    app.conf.broker_url = app.conf.broker_write_url = url
    app.amqp._producer_pool = app._pool = None  # noqa: SLF001 - Celery has no public way to reset its pools
