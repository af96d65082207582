"""Fixtures of the execution side."""

from collections.abc import Iterator

import pytest

from tests.broker import using_broker


@pytest.fixture
def broken_broker() -> Iterator[None]:
    """The configuration of an operator whose broker is not there: nothing listens on port 1."""
    with using_broker("redis://127.0.0.1:1/0"):
        yield
