"""Spans of this process, which are exported over OTLP if the installation names an endpoint.

Without one, OpenTelemetry is not imported, and contexts that callers send are passed on. A span is made only
if its parent is sampled. Contexts are texts as in `wire.traceparent`. `opentelemetry-api` alone would not
serve: its import and its empty spans cost more than this module.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from wire.traceparent import NONE, is_sampled, received

if TYPE_CHECKING:
    from foundation.telemetry.spans import ExportedSpan, Spans

Attributes = Mapping[str, str | int]


class Kind(StrEnum):
    """The relation of a span to its parent and its children."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"
    INTERNAL = "INTERNAL"


class Passed:
    """Stands in for a span that is not made. Its children are those of its parent."""

    def __init__(self, parent: str) -> None:
        self.traceparent = parent

    def set(self, attributes: Attributes) -> None:
        pass

    def fail(self, error_class: str) -> None:
        pass

    def end(self) -> None:
        pass


Span: TypeAlias = "Passed | ExportedSpan"
"""A span that has begun. `traceparent` is the context that its children get. Repeated calls of `end` change nothing."""
_spans: "Spans | None" = None
_sample = 0.0
_current: ContextVar[str] = ContextVar("traceparent", default=NONE)
_UNTRACED = nullcontext(Passed(NONE))


def start(endpoint: str, *, sample: float, service: str) -> None:
    """Export the spans of this process to `endpoint` from now on. Call this after the last fork.

    `sample` is the part of the requests without a context that are traced, from 0 to 1.
    """
    from foundation.telemetry.spans import Spans

    global _spans, _sample
    _spans, _sample = Spans(endpoint, service), sample


def current() -> str:
    """Return the context of the request that this thread serves; NONE if it is not traced."""
    return _current.get()


def serving(name: str, header: str | None, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
    """Serve a request whose `traceparent` header is `header`. Its context is `current` inside.

    The span joins the caller's trace if the caller sampled it. Without a valid header, a random part is traced.
    """
    return traced(name, header, attributes or {}) if wanted(header) else _UNTRACED


def wanted(header: str | None) -> bool:
    """Decide if a request with this `traceparent` header is to be `traced`. Ask once for each request."""
    if header is not None:
        return True
    return _spans is not None and random.random() < _sample  # noqa: S311 - no secret


@contextmanager
def traced(name: str, header: str | None, attributes: Attributes) -> Iterator[Span]:
    parent = received(header or NONE)
    if parent == NONE and _spans is not None:
        begun: Span = _spans.begin(name, Kind.SERVER, NONE, attributes)
    else:
        begun = begin(name, Kind.SERVER, parent, attributes)
    with within(begun):
        yield begun


@contextmanager
def within(span: Span) -> Iterator[None]:
    """End `span` with the block. Its context is `current` inside."""
    token = _current.set(span.traceparent)
    try:
        with ended(span):
            yield
    finally:
        _current.reset(token)


def begin(
    name: str,
    kind: Kind,
    parent: str,
    attributes: Attributes | None = None,
    *,
    links: Sequence[str] = (),
    at: float | None = None,
    span_id: int = 0,
) -> Span:
    """Begin a span at `at`, in seconds since 1970, by default now. Without a sampled parent, no span is made.

    `links` are contexts of related spans. `span_id` is the id to give it, by default a random one.
    """
    if _spans is None or not is_sampled(parent):
        return Passed(parent)
    return _spans.begin(name, kind, parent, attributes or {}, links=links, at=at, span_id=span_id)


@contextmanager
def ended(*spans: Span) -> Iterator[None]:
    """End `spans` with the block. If it raises, they have failed with that exception's class."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.fail(type(error).__qualname__)
        raise
    finally:
        for span in spans:
            span.end()


def monotonic_start(begun: float) -> float:
    """Return the time since 1970 of `begun`, which is a time of the monotonic clock."""
    return time.time() - (time.monotonic() - begun)
