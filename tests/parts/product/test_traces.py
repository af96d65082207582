import gzip
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.parts.product.conftest import PIPELINES, product_with_own_broker
from tests.receiving import Receiver
from tests.running import RunningProduct, TenantInUse, build, eventually

RUN = ["POST executions", "send command", "run transition", "step Price", "step Charge", "ask the bank"]


@pytest.fixture
def tenant(running: RunningProduct, receiver: Receiver, tmp_path: Path, name: str) -> Iterator[TenantInUse]:
    """A tenant of a product that exports spans to the receiver. Only what its callers trace is traced."""
    receiver.statuses = [200]
    settings = {"TRACES_ENDPOINT": receiver.url(path=""), "TRACES_SAMPLE": "0", "SUBMISSION_CACHE_SECONDS": "0"}
    with product_with_own_broker(running, tmp_path, settings) as (product, _):
        yield product.tenant(name)


def values(attributes: Sequence[Any]) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in attributes}


def exported(receiver: Receiver, trace_id: str) -> Iterator[tuple[Span, str]]:
    """Yield the spans of a trace that were exported so far, each with its service."""
    for body in [request.body for request in receiver.requests if request.path == "/v1/traces"]:
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        for group in request.resource_spans:
            service = values(group.resource.attributes)["service.name"]
            spans = [span for scope in group.scope_spans for span in scope.spans]
            yield from ((span, service) for span in spans if span.trace_id.hex() == trace_id)


def test_one_trace_leads_from_request_to_record(tenant: TenantInUse, receiver: Receiver, tmp_path: Path) -> None:
    release = build("traced:charging", PIPELINES / "traced", tmp_path / "charging", "1.0")
    tenant.host(release, "worker")
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    tenant.http.headers["traceparent"] = f"00-{trace_id}-{caller}-01"
    execution_id = tenant.accepted("tests.traced", {"number": 2}, "k")["executionId"]
    del tenant.http.headers["traceparent"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    expected = sorted([*RUN, "record outcome"])

    def complete() -> bool:
        return sorted(span.name for span, _ in exported(receiver, trace_id)) == expected

    eventually(complete, what=f"the spans {expected}")
    spans = {span.name: span for span, _ in exported(receiver, trace_id)}
    services = {span.name: service for span, service in exported(receiver, trace_id)}
    parents = {name: span.parent_span_id.hex() for name, span in spans.items()}
    ids = {name: span.span_id.hex() for name, span in spans.items()}
    assert parents == {
        "POST executions": caller,
        "send command": ids["POST executions"],
        "run transition": ids["send command"],
        "step Price": ids["run transition"],
        "step Charge": ids["run transition"],
        "ask the bank": ids["step Charge"],
        "record outcome": ids["run transition"],
    }
    assert (services["run transition"], services["record outcome"]) == ("pipelines-worker", "coordinator-control")
    assert values(spans["run transition"].attributes)["pipelines.execution"] == execution_id
    assert not any(span.status.code == Status.STATUS_CODE_ERROR for span in spans.values())
