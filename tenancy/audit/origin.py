"""Where the current act comes from: the id and the client's address of the web request that is being served."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from tenancy.client_address import client_address


@dataclass(frozen=True, slots=True)
class Origin:
    """`environ` is that of the WSGI request. `request_id` and `address` are "" outside of web requests."""

    request_id: str = ""
    environ: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return client_address(self.environ)


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
