"""REST of workers: lists, events, drains, and stranded work."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Execution, Worker, WorkerEvent
from executions.state_machine import moves
from executions.transports.rest.calls import may_call
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
PATH = f"workers/{making.PIPELINE}/worker-1"
LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready()


@pytest.fixture
def operator(ready: tuple[Tenant, Release]) -> Caller:
    return Caller(ready[0], Scope.OPERATE, Scope.READ)


def test_a_worker_is_drained_and_undrained(operator: Caller) -> None:
    drained = operator.call("POST", f"{PATH}/drain", {"reason": "new disk"})
    assert (drained["workerId"], drained["state"], drained["drainingSince"]) == ("worker-1", "DRAINING", None)
    assert drained["drainedByOperatorAt"] is not None
    assert operator.call("POST", f"{PATH}/drain") == drained
    undrained = operator.call("POST", f"{PATH}/undrain", {})
    assert (undrained["state"], undrained["drainedByOperatorAt"]) == ("HEALTHY", None)
    events = operator.get(f"{PATH}/events")["items"]
    assert [(event["state"], event["actor"], event["data"]) for event in events] == [
        ("HEALTHY", f"token:{operator.token}", {"cause": "OPERATOR_UNDRAINED", "reason": ""}),
        ("DRAINING", f"token:{operator.token}", {"cause": "OPERATOR_DRAINED", "reason": "new disk"}),
    ]


@pytest.mark.parametrize("name", ["host/1", "a b", "ü", "drain", "w/drain/events"])
def test_a_worker_of_any_name_has_valid_urls(ready: tuple[Tenant, Release], operator: Caller, name: str) -> None:
    making.worker(ready[1], name)
    assert operator.call("POST", f"workers/{making.PIPELINE}/{name}/drain")["workerId"] == name
    assert len(operator.get(f"workers/{making.PIPELINE}/{name}/events")["items"]) == 1


def test_a_worker_beyond_the_limit_is_not_registered(
    ready: tuple[Tenant, Release], operator: Caller, settings: Any
) -> None:
    settings.MAX_TENANT_WORKERS, settings.REST_WORKER_ORIGINS = 1, ["http://10.0.0.1:80"]
    body = {
        "pipelineId": making.PIPELINE,
        "contractVersion": ready[1].contract_version,
        "releaseVersion": "1.0",
        "workerId": "second",
        "endpoint": "http://10.0.0.1:80",
    }
    assert operator.call("POST", "workers", body, 409)["code"] == "WORKER_LIMIT_REACHED"
    assert not Worker.objects.filter(worker_id="second").exists()


def test_a_worker_shows_its_code_and_its_environment(ready: tuple[Tenant, Release], operator: Caller) -> None:
    [worker] = operator.get("workers")["items"]
    assert (worker["code"], worker["environment"], worker["ineligibleReason"]) == (None, None, None)
    reported = {"python": "cpython 3.12.1", "platform": "linux", "differences": ["a is 1"], "differenceCount": 51}
    rows = Worker.objects.filter(tenant=ready[0])
    rows.update(code="source", environment_fingerprint="sha256:1", environment=reported)
    [worker] = operator.get("workers")["items"]
    assert (worker["code"], worker["ineligibleReason"]) == ("source", "UNVERIFIED_CODE")
    assert worker["environment"] == {"fingerprint": "sha256:1", **reported}
    assert operator.call("PATCH", f"pipelines/{making.PIPELINE}", {"unverifiedWorkers": "allow"}, 403)


def test_workers_are_found_by_pipeline_release_and_state(ready: tuple[Tenant, Release], operator: Caller) -> None:
    owner, release = ready
    making.worker(release, "silent", last_heartbeat_at=LONG_AGO)
    making.worker(making.active(owner, "2.0"), "second", drained_by_operator_at=LONG_AGO)
    making.worker(making.active(owner, "1.0", pipeline_id="org.example.other"), "other", stopped_at=LONG_AGO)

    def found(query: str) -> set[str]:
        return {worker["workerId"] for worker in operator.get(f"workers?{query}")["items"]}

    assert found("") == {"worker-1", "silent", "second", "other"}
    assert found("pipelineId=org.example.other") == {"other"}
    assert found("releaseVersion=1.0") == {"worker-1", "silent", "other"}
    assert found(f"pipelineId={making.PIPELINE}&releaseVersion=1.0&state=HEALTHY") == {"worker-1"}
    assert (found("state=STALE"), found("state=DRAINING"), found("state=UNAVAILABLE")) == (
        {"silent"},
        {"second"},
        {"other"},
    )
    assert operator.get("workers?state=DEAD", 400)["code"] == "INVALID_REQUEST"


def test_an_execution_shows_its_worker_and_when_it_started(
    ready: tuple[Tenant, Release], operator: Caller, settings: Any
) -> None:
    owner, _ = ready
    execution = making.execution(owner)

    def observed() -> tuple[str, str | None, str | None]:
        found = operator.get(f"executions/{execution.pk}")
        return found["status"], found["worker"], found["runningSince"]

    assert observed() == ("QUEUED", None, None)
    [claim] = making.claimed(owner)
    assert observed() == ("RUNNING", None, None)
    held = [(claim.execution_id, claim.lease_token)]
    moves.renew_leases(owner.pk, held, worker_id="a:b", lease_seconds=30)
    assert observed() == ("RUNNING", "a:b", None)
    moves.renew_leases(owner.pk, held, worker_id="a:b", lease_seconds=30, running={claim.lease_token: 60})
    status, worker, since = observed()
    assert (status, worker) == ("RUNNING", "a:b")
    assert since is not None
    assert datetime.fromisoformat(since) < timezone.now() - timedelta(seconds=59)
    repeated = Caller(owner, Scope.SUBMIT).call(
        "POST",
        "executions",
        {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": execution.execution_key},
        200,
    )
    assert (repeated["worker"], repeated["runningSince"]) == ("a:b", since)
    Execution.objects.filter(pk=execution.pk).update(lease_protocol="rest", lease_worker="c:d")
    assert observed()[:2] == ("RUNNING", "c:d")


def test_stranded_work_is_listed_by_release(ready: tuple[Tenant, Release], operator: Caller) -> None:
    owner, release = ready
    made = making.execution(owner)
    assert operator.get("stranded") == {"items": []}
    Worker.objects.filter(tenant=owner).update(stopped_at=LONG_AGO)
    [found] = operator.get("stranded")["items"]
    since = datetime.fromisoformat(found.pop("since"))
    made.refresh_from_db()
    assert since == made.next_due_at
    pin = {"pipelineId": making.PIPELINE, "contractVersion": release.contract_version, "releaseVersion": "1.0"}
    assert found == {"pin": pin, "executions": 1, "reasons": ["STOPPED"]}


@pytest.mark.parametrize("operation", ["drain", "undrain"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"reason": 1}, 400, "INVALID_REQUEST"),
        ({"reason": None}, 400, "INVALID_REQUEST"),
        ({"reason": "x" * 1001}, 400, "INVALID_REQUEST"),
        ({"force": True}, 400, "INVALID_REQUEST"),
        ([], 400, "INVALID_REQUEST"),
        (b"{", 400, "INVALID_REQUEST"),
        (b'{"reason": "\\u0000"}', 400, "INVALID_REQUEST"),
        (b"\xff", 400, "INVALID_REQUEST"),
    ],
)
def test_a_malformed_request_changes_nothing(
    operator: Caller, operation: str, body: Any, status: int, code: str
) -> None:
    before = rows(Worker), rows(WorkerEvent)
    assert operator.call("POST", f"{PATH}/{operation}", body, status)["code"] == code
    assert (rows(Worker), rows(WorkerEvent)) == before


@pytest.mark.parametrize(("method", "last"), [("POST", "drain"), ("POST", "undrain"), ("GET", "events")])
def test_workers_of_another_tenant_are_unknown(
    ready: tuple[Tenant, Release], operator: Caller, method: str, last: str
) -> None:
    before = rows(Worker), rows(WorkerEvent)
    stranger = Caller(making.tenant(), *Scope)
    assert stranger.call(method, f"{PATH}/{last}", status=404)["code"] == "WORKER_UNKNOWN"
    assert operator.call(method, f"{PATH}0/{last}", status=404)["code"] == "WORKER_UNKNOWN"
    assert operator.call(method, f"{PATH}%00/{last}", status=404)["code"] == "NOT_FOUND"
    assert (rows(Worker), rows(WorkerEvent)) == before


def test_the_read_scope_does_not_permit_drains(ready: tuple[Tenant, Release]) -> None:
    before = rows(Worker), rows(WorkerEvent)
    reader = Caller(ready[0], Scope.READ, Scope.SUBMIT, Scope.ACTIVATE, Scope.ADMINISTER)
    for operation in ("drain", "undrain"):
        assert reader.call("POST", f"{PATH}/{operation}", status=403)["code"] == "SCOPE_MISSING"
    assert (rows(Worker), rows(WorkerEvent)) == before
    blind = Caller(ready[0], Scope.OPERATE)
    for path in ("workers", "stranded", f"{PATH}/events"):
        assert blind.get(path, 403)["code"] == "SCOPE_MISSING"


REST_WORKER = {
    "pipelineId": making.PIPELINE,
    "contractVersion": "c",
    "releaseVersion": "1.0",
    "workerId": "rest-1",
    "endpoint": "https://orders.internal:8443/",
}


def test_a_rest_worker_is_registered_kept_alive_and_drained(operator: Caller, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = ["https://orders.internal:8443"]
    made = operator.call("POST", "workers", REST_WORKER)
    assert (made["protocol"], made["endpoint"], made["state"]) == ("rest", REST_WORKER["endpoint"], "HEALTHY")
    assert made["pin"] == {name: REST_WORKER[name] for name in ("pipelineId", "contractVersion", "releaseVersion")}
    assert made in operator.get("workers")["items"]
    path = f"workers/{making.PIPELINE}/rest-1"
    making.silence(Worker.objects.get(worker_id="rest-1"))
    assert operator.get("workers?state=STALE")["items"][0]["workerId"] == "rest-1"
    assert operator.call("POST", f"{path}/heartbeat")["state"] == "HEALTHY"
    assert operator.call("POST", f"{path}/drain")["state"] == "DRAINING"
    assert operator.call("POST", f"{path}/heartbeat")["state"] == "DRAINING"
    assert operator.call("POST", f"{path}/undrain")["state"] == "HEALTHY"
    operator.call("POST", f"{path}/drain")
    assert operator.call("POST", "workers", REST_WORKER)["state"] == "HEALTHY"


@pytest.mark.parametrize(
    ("endpoint", "codes"),
    [
        ("file:///etc", ["ENDPOINT_NOT_A_URL"]),
        ("orders.internal:8443", ["ENDPOINT_NOT_A_URL"]),
        ("//orders.internal:8443", ["ENDPOINT_NOT_A_URL"]),
        ("https://orders.internal:0", ["ENDPOINT_NOT_A_URL"]),
        ("https://orders.internal:8443\\@other", ["ENDPOINT_NOT_A_URL"]),
        ("https://user:password@orders.internal:8443", ["ENDPOINT_HAS_USER_INFO"]),
        ("https://[fe80::1%25eth0]:8443", ["ENDPOINT_HAS_ZONE"]),
        ("https://orders.internal:8443/admin/", ["ENDPOINT_HAS_PATH"]),
        ("https://orders.internal:8443/pipeline/worker/transitions/execute", ["ENDPOINT_HAS_PATH"]),
        ("https://orders.internal:8443?", ["ENDPOINT_HAS_QUERY"]),
        ("https://orders.internal:8443/?delete=all&x=", ["ENDPOINT_HAS_QUERY"]),
        ("https://orders.internal:8443#", ["ENDPOINT_HAS_FRAGMENT"]),
        ("https://orders.internal:8443/a?b#c", ["ENDPOINT_HAS_PATH", "ENDPOINT_HAS_QUERY", "ENDPOINT_HAS_FRAGMENT"]),
    ],
)
def test_an_endpoint_that_is_not_an_origin_is_rejected(
    operator: Caller, settings: Any, endpoint: str, codes: list[str]
) -> None:
    settings.REST_WORKER_ORIGINS = ["https://orders.internal:8443"]
    refused = operator.call("POST", "workers", {**REST_WORKER, "endpoint": endpoint}, 422)
    assert refused["code"] == "WORKER_ENDPOINT_INVALID"
    assert [(error["field"], error["code"]) for error in refused["errors"]] == [("endpoint", code) for code in codes]
    assert not Worker.objects.filter(worker_id="rest-1").exists()
    assert not may_call(endpoint)


@pytest.mark.parametrize("endpoint", ["https://orders.internal", "http://orders.internal:8443"])
def test_a_worker_at_a_forbidden_origin_is_rejected(operator: Caller, settings: Any, endpoint: str) -> None:
    settings.REST_WORKER_ORIGINS = ["https://orders.internal:8443"]
    refused = operator.call("POST", "workers", {**REST_WORKER, "endpoint": endpoint}, 422)
    assert refused["code"] == "WORKER_ENDPOINT_REFUSED"
    assert not Worker.objects.filter(worker_id="rest-1").exists()


def test_no_client_sends_heartbeats_for_a_celery_worker(operator: Caller, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = ["https://orders.internal:8443"]
    before = rows(Worker)
    assert operator.call("POST", f"{PATH}/heartbeat", None, 409)["code"] == "WORKER_BEATS_ITSELF"
    refused = operator.call("POST", "workers", {**REST_WORKER, "workerId": "worker-1"}, 409)
    assert refused["code"] == "WORKER_BEATS_ITSELF"
    assert rows(Worker) == before
