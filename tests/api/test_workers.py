from typing import Any

import pytest

from executions.models import Worker
from executions.transports.rest import may_call
from tests import making
from tests.api.caller import Caller
from tests.api.endpoints import REST_WORKER
from tests.cases import cases
from tests.raw_sql import rows

PATH = f"workers/{making.PIPELINE}/worker-1"
ORIGIN = "https://orders.internal:8443"
WORKER = {**REST_WORKER, "endpoint": f"{ORIGIN}/"}


@pytest.fixture(autouse=True)
def origins(settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = [ORIGIN]


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
    (f"{ORIGIN}\\@other", INVALID, ["NOT_A_URL"]),
    ("https://user:password@orders.internal:8443", INVALID, ["HAS_USER_INFO"]),
    (f"{ORIGIN}/a?b#c", INVALID, ["HAS_PATH", "HAS_QUERY", "HAS_FRAGMENT"]),
    ("http://orders.internal:8443", REFUSED, None),
)
def test_a_forbidden_endpoint_is_rejected(operator: Caller, endpoint: str, code: str, errors: list[str] | None) -> None:
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
