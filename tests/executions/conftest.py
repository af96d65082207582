"""Fixtures of the execution side."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app


@pytest.fixture
def broken_broker() -> Iterator[None]:
    """The configuration of an operator whose broker is not there: nothing listens on port 1."""

    app: Any = current_app

    def use(url: str) -> None:
        app.conf.broker_url = app.conf.broker_write_url = url
        app.amqp._producer_pool = app._pool = None  # noqa: SLF001 - Celery has no other way to forget its pools

    before = app.conf.broker_url
    use("redis://127.0.0.1:1/0")
    yield
    use(before)
