"""Makes spans with OpenTelemetry and exports them. Only processes that export them import this module."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace import Span as Recorded
from opentelemetry.trace.status import Status, StatusCode

from wire.traceparent import NONE

Attributes = Mapping[str, str | int]
TRACES_PATH = "/v1/traces"
EXPORT_MILLISECONDS = 1000
"""How often the spans that have ended are exported."""
TIMEOUT_SECONDS = 5
_chosen_id: ContextVar[int] = ContextVar("span_id", default=0)


class _Ids(RandomIdGenerator):
    """Random ids, unless `_chosen_id` has one."""

    def generate_span_id(self) -> int:
        return _chosen_id.get() or super().generate_span_id()


class ExportedSpan:
    """A span that is exported once it has ended."""

    def __init__(self, span: Recorded) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error_class: str) -> None:
        self._span.set_attribute("error.type", error_class)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()


class Spans:
    """The spans of one process. They wait in memory for an export; if too many do, further ones are dropped."""

    def __init__(self, endpoint: str, service: str) -> None:
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + TRACES_PATH, timeout=TIMEOUT_SECONDS)
        provider = TracerProvider(resource=Resource.create({"service.name": service}), id_generator=_Ids())
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MILLISECONDS))
        self._tracer = provider.get_tracer("durable-coordinator")

    def begin(
        self,
        name: str,
        kind: str,
        parent: str,
        attributes: Attributes,
        *,
        links: Sequence[str] = (),
        at: float | None = None,
        span_id: int = 0,
    ) -> ExportedSpan:
        """Begin a span, as `traces.begin` describes. Without a parent, it begins a trace."""
        token = _chosen_id.set(span_id)
        try:
            span = self._tracer.start_span(
                name,
                Context() if parent == NONE else set_span_in_context(NonRecordingSpan(_context(parent)), Context()),
                kind=SpanKind[kind],
                attributes=dict(attributes),
                links=[Link(_context(link)) for link in links],
                start_time=None if at is None else int(at * 1e9),
            )
        finally:
            _chosen_id.reset(token)
        return ExportedSpan(span)


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
