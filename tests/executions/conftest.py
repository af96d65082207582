"""Fixtures of the execution tests, which run with the rights of the application role."""

from collections.abc import Iterator

import pytest

from tests.application_role import application_role
from tests.broker import using_broker

__all__ = ["application_role"]


@pytest.fixture
def broken_broker() -> Iterator[None]:
    """Configure a broker that is not available: nothing listens on port 1."""
    with using_broker("redis://127.0.0.1:1/0"):
        yield
