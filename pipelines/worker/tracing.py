"""Exports the spans of transitions over OTLP. Only workers that do so import this module.

The spans of steps are current while the author's code runs, so spans that a step makes with OpenTelemetry join them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from pipelines.authoring.planned_step import PlannedStep

TRACES_PATH = "/v1/traces"
EXPORT_MILLISECONDS = 1000
TIMEOUT_SECONDS = 5


class Tracer:
    def __init__(self, endpoint: str) -> None:
        """Export to `endpoint`. Becomes the provider of the author's spans too, unless the author has set another."""
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + TRACES_PATH, timeout=TIMEOUT_SECONDS)
        provider = TracerProvider(
            resource=Resource.create({"service.name": "pipelines-worker"}), sampler=ParentBased(root=ALWAYS_OFF)
        )
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MILLISECONDS))
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(provider)
        self._tracer = provider.get_tracer("durable-pipelines")

    @contextmanager
    def transition(
        self, parent: str, attributes: Mapping[str, str | int], *, suspended_run: str = ""
    ) -> Iterator[Transition]:
        """Make the span of one transition. It ends with the block, and so do the spans of its steps.

        `parent` is the context in its command. `suspended_run` is that of the run whose await it resumes.
        """
        span = self._tracer.start_span(
            "run transition",
            _with(parent),
            kind=SpanKind.CONSUMER,
            attributes={"messaging.operation.type": "process", **attributes},
            links=[Link(_context(suspended_run))] if suspended_run else [],
        )
        transition = Transition(self._tracer, span)
        try:
            yield transition
        finally:
            transition.end()


class Transition:
    """The span of one transition and those of its steps: each from the first call of the step to its newest one."""

    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._inside = set_span_in_context(span, Context())
        self._lock = threading.Lock()
        self._steps: dict[int, tuple[Span, int]] = {}

    @property
    def traceparent(self) -> str:
        """The context that the outcome reports."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def in_step(self, step: PlannedStep, call: Callable[[], Any]) -> Any:
        """Call the code of a step with the step's span as the current one."""
        with self._lock:  # items of a step with `parallel` run in threads
            span, _ = self._steps.get(step.index) or (self._begin(step), 0)
            self._steps[step.index] = span, time.time_ns()  # the step may never return
        token = contexts.attach(set_span_in_context(span))
        try:
            return call()
        finally:
            contexts.detach(token)
            self._steps[step.index] = span, time.time_ns()

    def fail(self, failure_class: str, step_index: int | None) -> None:
        """Mark the transition as failed, and the step that caused it."""
        failed = [self._span]
        if step_index in self._steps:
            failed.append(self._steps[step_index][0])
        for span in failed:
            span.set_attribute("error.type", failure_class)
            span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        for span, ended in self._steps.values():
            span.end(ended)
        self._span.end()

    def _begin(self, step: PlannedStep) -> Span:
        attributes: dict[str, str | int] = {"pipelines.step": step.name, "pipelines.step.index": step.index}
        return self._tracer.start_span(f"step {step.name}", self._inside, attributes=attributes)


def _with(traceparent: str) -> Context:
    return set_span_in_context(NonRecordingSpan(_context(traceparent)), Context())


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
