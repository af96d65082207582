"""One trace from the request that submits an execution to its result, over real processes and an OTLP receiver."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.otlp_receiver import OtlpReceiver, receiving_spans
from tests.parts.product.conftest import PIPELINES, product_with_own_broker
from tests.running import RunningProduct, TenantInUse, build

RUN = ["POST executions", "send command", "run transition", "step Price", "step Charge", "ask the bank"]


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with receiving_spans() as receiver:
        yield receiver


@pytest.fixture
def tenant(running: RunningProduct, collector: OtlpReceiver, tmp_path: Path, name: str) -> Iterator[TenantInUse]:
    """A tenant of a product that exports spans. Only what its callers trace is traced."""
    settings = {"TRACES_ENDPOINT": collector.url, "TRACES_SAMPLE": "0", "SUBMISSION_CACHE_SECONDS": "0"}
    with product_with_own_broker(running, tmp_path, settings) as (product, _):
        yield product.tenant(name)


def test_one_trace_leads_from_the_request_to_the_record(
    tenant: TenantInUse, collector: OtlpReceiver, tmp_path: Path
) -> None:
    release = build("traced:charging", PIPELINES / "traced", tmp_path / "charging", "1.0")
    tenant.register(release)
    tenant.activate(release)
    tenant.start_worker(release, "worker")
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    tenant.http.headers["traceparent"] = f"00-{trace_id}-{caller}-01"
    execution_id = tenant.accepted("tests.traced", {"number": 2}, "k")["executionId"]
    del tenant.http.headers["traceparent"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    spans = collector.wait_for([*RUN, "record outcome"], trace_id)
    by_name = {span.name: span for span in spans}
    parents = {name: span.parent_id for name, span in by_name.items()}
    ids = {name: span.span_id for name, span in by_name.items()}
    assert parents == {
        "POST executions": caller,
        "send command": ids["POST executions"],
        "run transition": ids["send command"],
        "step Price": ids["run transition"],
        "step Charge": ids["run transition"],
        "ask the bank": ids["step Charge"],
        "record outcome": ids["run transition"],
    }
    run = by_name["run transition"]
    assert (run.service, by_name["record outcome"].service) == ("pipelines-worker", "coordinator-control")
    assert run.attributes["pipelines.execution"] == execution_id
    assert len(by_name) == len(spans)
    assert not any(span.error for span in spans)
