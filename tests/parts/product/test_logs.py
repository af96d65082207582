"""The logs of all four processes in JSON: one event a line, with its fields, and without payloads or secrets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.product.conftest import PIPELINES, product_with_own_broker
from tests.running import RunningProduct, TenantInUse, build, eventually
from wire.worker_keys import worker_key

PAYLOAD = 'payload-4711\n{"level": "INFO", "event": "forged"}\x1b[31m é'
FOLDER = PIPELINES / "talkative"


@pytest.fixture
def product(running: RunningProduct, tmp_path: Path) -> Iterator[RunningProduct]:
    settings = {"LOG_FORMAT": "json", "SUBMISSION_CACHE_SECONDS": "0"}
    with product_with_own_broker(running, tmp_path, settings) as (product, _):
        yield product


@pytest.fixture
def tenant(product: RunningProduct, name: str) -> TenantInUse:
    return product.tenant(name)


def lines(product: RunningProduct, process: str) -> list[dict[str, Any]]:
    [log] = {child.log for child in product.product.children.started if child.name == process}
    return [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()]


def test_lines_have_fields_and_no_secrets(product: RunningProduct, tenant: TenantInUse, tmp_path: Path) -> None:
    slug = tenant.tenant.slug
    release = build("talkative:pipeline", FOLDER, tmp_path / "release", "1.0")
    tenant.host(release, "talkative")
    execution_id = tenant.accepted(release.pipeline_id, {"text": PAYLOAD}, "k")["executionId"]
    tenant.wait_for(execution_id, "FAILED")
    unknown = tenant.url("executions/00000000-0000-0000-0000-000000000000")
    missing = tenant.http.get(unknown, headers={"X-Request-ID": "r-1"})
    assert (missing.status_code, missing.headers["X-Request-ID"]) == (404, "r-1")

    def of_web() -> list[dict[str, Any]]:
        return [line for line in lines(product, "web") if line.get("requestId") == "r-1"]

    [refused] = eventually(of_web, what="a line of the request")
    assert (refused["logger"], refused["level"], refused["tenant"]) == ("django.request", "WARNING", slug)

    def of_control_worker() -> list[dict[str, Any]]:
        of_execution = [line for line in lines(product, "control-worker") if line.get("execution") == execution_id]
        return [line for line in of_execution if line["logger"] == "executions.state_machine.dead_letters"]

    [dead] = eventually(of_control_worker, what="a line of the failure")
    assert (dead["tenant"], dead["attempt"]) == (slug, 0)

    of_execution = [line for line in lines(product, "talkative") if line.get("execution") == execution_id]
    pinned = {"tenant": slug, "pipeline": release.pipeline_id, "release": "1.0", "step": "Talk", "attempt": 0}
    assert all(line.items() >= pinned.items() for line in of_execution)
    said, failed = of_execution
    assert (said["logger"], said["event"]) == ("talkative", "about to fail")
    assert failed["event"] == f"Execution {execution_id} failed with talkative.Refused"
    assert failed["exception"]["class"] == "talkative.Refused"
    assert [frame.split(":")[0] for frame in failed["exception"]["frames"]] == ["talkative.py", "talkative.py"]

    eventually(lambda: lines(product, "clock"), what="a line of the clock")
    environment = product.product.environment
    secrets = {
        "payload-4711",
        "forged",
        "private-4712",
        environment["SECRET_KEY"],
        environment["WORKER_SECRET"],
        worker_key(environment["WORKER_SECRET"], slug).text,
        str(tenant.http.headers["Authorization"]).removeprefix("Bearer "),
    }
    for process in ("web", "control-worker", "clock", "talkative"):
        for line in lines(product, process):
            assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
            assert not [secret for secret in secrets if secret in json.dumps(line)], line
