"""One trace from the request that submits an execution to its result, over real processes and an OTLP receiver."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.otlp_receiver import OtlpReceiver, ReceivedSpan, receiving_spans
from tests.parts.product.conftest import PIPELINES, product_with_own_broker
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build

RUN = ["POST executions", "send command", "run transition", "step Price", "step Charge", "ask the bank"]


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with receiving_spans() as receiver:
        yield receiver


@pytest.fixture
def traced(running: RunningProduct, collector: OtlpReceiver, tmp_path: Path) -> Iterator[RunningProduct]:
    """A product that exports spans. Only what its callers trace is traced."""
    settings = {
        "TRACES_ENDPOINT": collector.url,
        "TRACES_SAMPLE": "0",
        "SUBMISSION_CACHE_SECONDS": "0",
    }
    with product_with_own_broker(running, tmp_path, settings) as (product, _):
        yield product


@pytest.fixture
def tenant(traced: RunningProduct, name: str) -> Iterator[TenantInUse]:
    created = traced.tenant(name)
    yield created
    created.stop_workers()


@pytest.fixture
def charging(tmp_path: Path) -> BuiltRelease:
    return build("traced:charging", PIPELINES / "traced", tmp_path / "charging", "1.0")


def hosted(tenant: TenantInUse, release: BuiltRelease) -> None:
    tenant.register(release)
    tenant.activate(release)
    tenant.start_worker(release, "worker")


def submitted(tenant: TenantInUse, pipeline: str, value: Any) -> tuple[str, str, str]:
    """Submit in a trace of the caller. Return the execution, the trace and the caller's span."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    response = tenant.http.post(
        tenant.url("executions"),
        json={"pipelineId": pipeline, "input": value, "idempotencyKey": "k"},
        headers={"traceparent": f"00-{trace_id}-{span_id}-01"},
    )
    assert response.status_code == 202, response.text
    return response.json()["executionId"], trace_id, span_id


def one(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    [found] = [span for span in spans if span.name == name]
    return found


def test_one_trace_leads_from_the_request_to_the_record(
    tenant: TenantInUse, collector: OtlpReceiver, charging: BuiltRelease
) -> None:
    hosted(tenant, charging)
    execution_id, trace_id, caller = submitted(tenant, "tests.traced", {"number": 2})
    tenant.wait_for(execution_id, "SUCCEEDED")
    spans = collector.wait_for([*RUN, "record outcome"], trace_id)
    parents = {span.name: span.parent_id for span in spans}
    ids = {span.name: span.span_id for span in spans}
    assert parents == {
        "POST executions": caller,
        "send command": ids["POST executions"],
        "run transition": ids["send command"],
        "step Price": ids["run transition"],
        "step Charge": ids["run transition"],
        "ask the bank": ids["step Charge"],
        "record outcome": ids["run transition"],
    }
    services = {span.name: span.service for span in spans}
    assert (services["run transition"], services["record outcome"]) == ("pipelines-worker", "coordinator-control")
    assert one(spans, "run transition").attributes["pipelines.execution"] == execution_id
    assert not any(span.error for span in spans)
