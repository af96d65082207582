"""REST of workers: lists, events, drains, and stranded work."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Execution, Worker
from executions.state_machine import moves
from executions.transports.rest.calls import may_call
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.api.endpoints import REST_WORKER
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
PATH = f"workers/{making.PIPELINE}/worker-1"
LONG_AGO = timezone.now() - timedelta(hours=1)
ORIGIN = "https://orders.internal:8443"
WORKER = {**REST_WORKER, "endpoint": f"{ORIGIN}/"}
Ready = tuple[Tenant, Release]


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.OPERATE, Scope.READ)


@pytest.fixture(autouse=True)
def origins(settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = [ORIGIN]


def test_a_worker_is_drained_and_undrained(operator: Caller) -> None:
    drained = operator.post(f"{PATH}/drain", {"reason": "new disk"})
    assert (drained["workerId"], drained["state"], drained["drainingSince"]) == ("worker-1", "DRAINING", None)
    assert drained["drainedByOperatorAt"] is not None
    assert operator.post(f"{PATH}/drain") == drained
    undrained = operator.post(f"{PATH}/undrain", {})
    assert (undrained["state"], undrained["drainedByOperatorAt"]) == ("HEALTHY", None)
    events = operator.get(f"{PATH}/events")["items"]
    assert [(event["state"], event["actor"], event["data"]) for event in events] == [
        ("HEALTHY", f"token:{operator.token}", {"cause": "OPERATOR_UNDRAINED", "reason": ""}),
        ("DRAINING", f"token:{operator.token}", {"cause": "OPERATOR_DRAINED", "reason": "new disk"}),
    ]


@cases("name", ["host/1", "a b", "ü", "drain", "w/drain/events"])
def test_a_worker_of_any_name_has_valid_urls(ready: Ready, operator: Caller, name: str) -> None:
    making.worker(ready[1], name)
    assert operator.post(f"workers/{making.PIPELINE}/{name}/drain")["workerId"] == name
    assert len(operator.get(f"workers/{making.PIPELINE}/{name}/events")["items"]) == 1


def test_a_worker_shows_its_code_and_its_environment(owner: Tenant, operator: Caller) -> None:
    [worker] = operator.get("workers")["items"]
    assert (worker["code"], worker["environment"], worker["ineligibleReason"]) == (None, None, None)
    reported = {"python": "cpython 3.12.1", "platform": "linux", "differences": ["a is 1"], "differenceCount": 51}
    Worker.objects.filter(tenant=owner).update(code="source", environment_fingerprint="sha256:1", environment=reported)
    [worker] = operator.get("workers")["items"]
    assert (worker["code"], worker["ineligibleReason"]) == ("source", "UNVERIFIED_CODE")
    assert worker["environment"] == {"fingerprint": "sha256:1", **reported}


def test_workers_are_found_by_pipeline_release_and_state(ready: Ready, operator: Caller) -> None:
    owner, release = ready
    making.worker(release, "silent", last_heartbeat_at=LONG_AGO)
    making.worker(making.active(owner, "2.0"), "second", drained_by_operator_at=LONG_AGO)
    making.worker(making.active(owner, "1.0", pipeline_id="org.example.other"), "other", stopped_at=LONG_AGO)
    for query, names in {
        "": {"worker-1", "silent", "second", "other"},
        "pipelineId=org.example.other": {"other"},
        "releaseVersion=1.0": {"worker-1", "silent", "other"},
        f"pipelineId={making.PIPELINE}&releaseVersion=1.0&state=HEALTHY": {"worker-1"},
        "state=STALE": {"silent"},
        "state=DRAINING": {"second"},
        "state=UNAVAILABLE": {"other"},
    }.items():
        assert {worker["workerId"] for worker in operator.get(f"workers?{query}")["items"]} == names, query


def test_an_execution_shows_its_worker_and_when_it_started(owner: Tenant, operator: Caller) -> None:
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
    body = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": execution.execution_key}
    repeated = Caller(owner, Scope.SUBMIT).post("executions", body)
    assert (repeated["worker"], repeated["runningSince"]) == ("a:b", since)
    Execution.objects.filter(pk=execution.pk).update(lease_protocol="rest", lease_worker="c:d")
    assert observed()[:2] == ("RUNNING", "c:d")


def test_stranded_work_is_listed_by_release(ready: Ready, operator: Caller) -> None:
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


def test_a_rest_worker_is_registered_kept_alive_and_drained(operator: Caller) -> None:
    made = operator.post("workers", WORKER)
    assert (made["protocol"], made["endpoint"], made["state"]) == ("rest", WORKER["endpoint"], "HEALTHY")
    assert made["pin"] == {name: WORKER[name] for name in ("pipelineId", "contractVersion", "releaseVersion")}
    assert made in operator.get("workers")["items"]
    path = f"workers/{making.PIPELINE}/rest-1"
    making.silence(Worker.objects.get(worker_id="rest-1"))
    assert operator.get("workers?state=STALE")["items"][0]["workerId"] == "rest-1"
    states = [
        operator.post(f"{path}/{act}")["state"] for act in ("heartbeat", "drain", "heartbeat", "undrain", "drain")
    ]
    assert states == ["HEALTHY", "DRAINING", "DRAINING", "HEALTHY", "DRAINING"]
    assert operator.post("workers", WORKER)["state"] == "HEALTHY"


INVALID, REFUSED = "WORKER_ENDPOINT_INVALID", "WORKER_ENDPOINT_REFUSED"


@cases(
    ("endpoint", "code", "errors"),
    [
        ("file:///etc", INVALID, ["NOT_A_URL"]),
        ("orders.internal:8443", INVALID, ["NOT_A_URL"]),
        ("//orders.internal:8443", INVALID, ["NOT_A_URL"]),
        ("https://orders.internal:0", INVALID, ["NOT_A_URL"]),
        (f"{ORIGIN}\\@other", INVALID, ["NOT_A_URL"]),
        ("https://user:password@orders.internal:8443", INVALID, ["HAS_USER_INFO"]),
        ("https://[fe80::1%25eth0]:8443", INVALID, ["HAS_ZONE"]),
        (f"{ORIGIN}/admin/", INVALID, ["HAS_PATH"]),
        (f"{ORIGIN}?", INVALID, ["HAS_QUERY"]),
        (f"{ORIGIN}#", INVALID, ["HAS_FRAGMENT"]),
        (f"{ORIGIN}/a?b#c", INVALID, ["HAS_PATH", "HAS_QUERY", "HAS_FRAGMENT"]),
        ("https://orders.internal", REFUSED, None),
        ("http://orders.internal:8443", REFUSED, None),
    ],
)
def test_a_worker_at_a_forbidden_endpoint_is_rejected(
    operator: Caller, endpoint: str, code: str, errors: list[str] | None
) -> None:
    refused = operator.post("workers", {**WORKER, "endpoint": endpoint}, 422)
    assert refused["code"] == code
    if errors is not None:
        expected = [("endpoint", f"ENDPOINT_{error}") for error in errors]
        assert [(error["field"], error["code"]) for error in refused["errors"]] == expected
    assert not Worker.objects.filter(worker_id="rest-1").exists()
    assert not may_call(endpoint)


def test_a_registration_beyond_the_limit_or_of_a_celery_worker_is_refused(operator: Caller, settings: Any) -> None:
    before = rows(Worker)
    assert operator.post(f"{PATH}/heartbeat", None, 409)["code"] == "WORKER_BEATS_ITSELF"
    assert operator.post("workers", {**WORKER, "workerId": "worker-1"}, 409)["code"] == "WORKER_BEATS_ITSELF"
    settings.MAX_TENANT_WORKERS = 1
    assert operator.post("workers", WORKER, 409)["code"] == "WORKER_LIMIT_REACHED"
    assert rows(Worker) == before
