"""One trace from the request that submits an execution to its result, over real processes and an OTLP receiver."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.otlp_receiver import OtlpReceiver, ReceivedSpan, receiving_spans
from tests.parts.product.conftest import PIPELINES, Host, complete, pending, post, product_with_own_broker
from tests.running import REST_PORT, BuiltRelease, RunningProduct, TenantInUse, build, eventually

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
        "REST_WORKER_ORIGINS": f"http://127.0.0.1:{REST_PORT}",
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


def test_a_retry_is_part_of_the_trace_and_a_failure_names_its_class(
    tenant: TenantInUse, collector: OtlpReceiver, charging: BuiltRelease
) -> None:
    hosted(tenant, charging)
    tenant.change_policy("tests.traced", retryDelaySeconds=0)
    execution_id, trace_id, _ = submitted(tenant, "tests.traced", {"number": 2, "fail_times": 1})
    tenant.wait_for(execution_id, "SUCCEEDED")
    spans = collector.wait_for([*RUN, *RUN[1:], "record outcome", "record outcome"], trace_id)
    runs = {span.attributes["pipelines.attempt"]: span for span in spans if span.name == "run transition"}
    assert [runs[attempt].error for attempt in (0, 1)] == [True, False]
    assert runs[0].attributes["error.type"] == "RuntimeError"
    [failed] = [span for span in spans if span.name == "step Charge" and span.error]
    assert failed.parent_id == runs[0].span_id
    assert not any(b"card-4711" in body for body in collector.bodies)


def test_an_await_and_its_resumption_are_linked_both_ways(
    tenant: TenantInUse, collector: OtlpReceiver, host: Host
) -> None:
    host(tenant, "approval")
    execution_id, trace_id, _ = submitted(tenant, "tests.approval", {"number": 2})
    [interaction] = pending(tenant, execution_id)
    complete(tenant, interaction, {"accepted": True})
    tenant.wait_for(execution_id, "SUCCEEDED")
    step = interaction["stepId"]
    waited = [f"suspend {step}", f"await {step}"]
    transition = ["send command", "run transition", "record outcome"]
    spans = collector.wait_for(
        ["POST executions", *transition, *transition, "step Price", "step Settle", *waited], trace_id
    )
    first, second = sorted((span for span in spans if span.name == "run transition"), key=lambda span: span.start)
    suspension, wait = (one(spans, name) for name in waited)
    assert (suspension.parent_id, suspension.links) == (first.span_id, [wait.span_id])
    assert (wait.parent_id, wait.links) == (first.span_id, [first.span_id])
    assert second.links == [first.span_id]


def test_a_rest_worker_joins_the_trace(tenant: TenantInUse, collector: OtlpReceiver, charging: BuiltRelease) -> None:
    tenant.register(charging)
    tenant.activate(charging)
    tenant.start_rest_worker(charging, "rest")
    body = {
        "workerId": "rest",
        "pipelineId": charging.pipeline_id,
        "contractVersion": charging.document["contractVersion"],
        "releaseVersion": charging.version,
        "endpoint": f"http://127.0.0.1:{REST_PORT}",
    }
    post(tenant, "workers", **body)

    def accepted() -> tuple[str, str, str] | None:
        try:
            return submitted(tenant, "tests.traced", {"number": 2})
        except AssertionError:
            return None

    execution_id, trace_id, _ = eventually(accepted, what="an accepted submission")
    tenant.wait_for(execution_id, "SUCCEEDED")
    spans = collector.wait_for(["POST executions", "call worker", *RUN[2:], "record outcome"], trace_id)
    call = one(spans, "call worker")
    assert (call.kind, call.parent_id) == ("CLIENT", one(spans, "POST executions").span_id)
    assert one(spans, "run transition").parent_id == call.span_id
    assert one(spans, "record outcome").parent_id == call.span_id
