"""Where the current act comes from: the id and the client's address of the web request that is being served."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Origin(NamedTuple):
    """`request_id` and `address` are "" outside of web requests."""

    request_id: str = ""
    address: str = ""


_current: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - it is immutable


def current() -> Origin:
    return _current.get()


@contextmanager
def serving(origin: Origin) -> Iterator[None]:
    """Make `origin` that of all acts in the block."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)
