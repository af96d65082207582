"""A receiver of OTLP over HTTP: decodes the spans that processes export."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.building import eventually
from tests.receiving import Receiver, receiving


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as a collector sees it. Ids are in hexadecimal."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    service: str
    error: bool
    attributes: Mapping[str, str | int]


class OtlpReceiver:
    """Everything that was exported to `url` so far."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.url = receiver.url(path="")

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self._receiver.requests if request.path == "/v1/traces"]

    def spans(self) -> list[ReceivedSpan]:
        return [span for body in self.bodies for span in _decoded(body)]

    def wait_for(self, names: Sequence[str], trace_id: str | None = None, seconds: float = 30) -> list[ReceivedSpan]:
        """Return the spans of a trace once their names are `names`, in any order."""

        def received() -> list[ReceivedSpan] | None:
            found = [span for span in self.spans() if trace_id in (None, span.trace_id)]
            return found if sorted(span.name for span in found) == sorted(names) else None

        return eventually(received, seconds=seconds, what=f"the spans {names}")


@contextmanager
def receiving_spans() -> Iterator[OtlpReceiver]:
    with receiving() as receiver:
        receiver.statuses = [200]
        yield OtlpReceiver(receiver)


def _decoded(body: bytes) -> Iterator[ReceivedSpan]:
    request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    for exported in request.resource_spans:
        service = _attributes(exported.resource.attributes)["service.name"]
        for scope in exported.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    str(service),
                    span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    _attributes(span.attributes),
                )


def _attributes(pairs: Sequence[Any]) -> dict[str, str | int]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in pairs}
