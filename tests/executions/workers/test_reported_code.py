"""What workers report about their code and environment: it is stored, changes are events, and policies apply."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import ValidationError
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions import tasks
from executions.errors import WorkerUnavailable
from executions.models import Worker, WorkerEligibility
from executions.transports.rest import workers as rest_workers
from executions.workers import hosts
from executions.workers.eligibility import require_healthy
from executions.workers.registry import INSTRUCT_TASK, drain, take_heartbeat
from releases.activation import policy
from releases.models import Pipeline, Release
from tests import making
from tests.broker import taken
from tests.cases import cases
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat, Instruction, WorkerEnvironment
from wire.messages.limits import MOST_DIFFERENCES
from wire.messages.queues import instruction_queue_of
from wire.messages.sealing import decode, verify
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db
SENT = datetime(2026, 1, 1, tzinfo=UTC)
MISSING = "b is not installed, required is 2"


@pytest.fixture
def release() -> Release:
    return making.active(making.tenant())


def environment(fingerprint: str = "sha256:1", *differences: str, count: int | None = None) -> WorkerEnvironment:
    total = len(differences) if count is None else count
    return WorkerEnvironment(
        fingerprint=fingerprint,
        python="cpython 3.12.1",
        platform="linux-x86_64",
        differences=list(differences),
        difference_count=total,
    )


def heartbeat(release: Release, second: int = 0, state: Any = "HEALTHY", **members: Any) -> Worker:
    """Record a heartbeat of the worker w, sent at `second`."""
    body = Heartbeat(worker_id="w", state=state, capacity=2, **members)
    take_heartbeat(release.pipeline.tenant, release.identity, body, SENT + timedelta(seconds=second))
    return Worker.objects.get(tenant=release.pipeline.tenant, worker_id="w")


def allow(release: Release) -> None:
    policy.change(release.pipeline, {"unverifiedWorkers": "allow"}, actor="user:admin")


def events(worker: Worker) -> list[dict[str, Any]]:
    """Return the data of the worker's events after its registration, oldest first."""
    found = [event.data for event in worker.events.order_by("id")]
    assert found[0]["cause"] == "REGISTERED"
    return found[1:]


def test_a_worker_that_reports_nothing_has_no_code_and_no_environment(release: Release) -> None:
    worker = heartbeat(release)
    assert (worker.code, worker.environment_fingerprint, worker.environment) == ("", "", None)
    assert worker.difference_count == 0
    assert events(worker) == []


@cases("code", ["artifact", "source", "image"])
def test_the_row_of_a_worker_has_what_its_newest_heartbeat_reports(release: Release, code: Any) -> None:
    heartbeat(release)
    worker = heartbeat(release, 1, code=code, environment=environment("sha256:1", MISSING, count=60))
    assert (worker.code, worker.environment_fingerprint, worker.difference_count) == (code, "sha256:1", 60)
    assert worker.environment == {
        "python": "cpython 3.12.1",
        "platform": "linux-x86_64",
        "differences": [MISSING],
        "differenceCount": 60,
    }
    again = heartbeat(release, 2)
    assert (again.code, again.environment_fingerprint, again.environment) == ("", "", None)


def test_the_count_of_differences_is_at_least_the_number_of_those_that_are_listed(release: Release) -> None:
    worker = heartbeat(release, environment=environment("sha256:1", "a", "b", count=0))
    assert worker.difference_count == 2


def test_an_unchanged_environment_is_not_written_again(release: Release) -> None:
    same: dict[str, Any] = {"code": "artifact", "environment": environment("sha256:1", MISSING)}
    heartbeat(release, 0, **same)
    with CaptureQueriesContext(connection) as queries:
        heartbeat(release, 1, **same)
    assert not [query for query in queries if '"environment" = ' in str(query["sql"])]
    with CaptureQueriesContext(connection) as queries:
        heartbeat(release, 2, code="artifact", environment=environment("sha256:1", "another"))
    assert [query for query in queries if '"environment" = ' in str(query["sql"])]


def test_the_check_at_submission_reads_no_environment(release: Release) -> None:
    heartbeat(release, code="artifact", environment=environment("sha256:1", MISSING))
    with CaptureQueriesContext(connection) as queries:
        require_healthy(release)
        hosts.hosts(release)
    assert not [query for query in queries if '"environment"' in str(query["sql"])]


def test_a_change_of_the_code_is_an_event(release: Release) -> None:
    for second, code in enumerate(("artifact", "artifact", "source", None, "image")):
        worker = heartbeat(release, second, code=code)
    assert events(worker) == [
        {"cause": "CODE_CHANGED", "code": "source", "previousCode": "artifact"},
        {"cause": "CODE_CHANGED", "code": None, "previousCode": "source"},
        {"cause": "CODE_CHANGED", "code": "image", "previousCode": None},
    ]


def test_a_change_of_the_code_between_two_runs_of_a_worker_is_an_event(release: Release) -> None:
    heartbeat(release, code="artifact")
    heartbeat(release, 1, "UNAVAILABLE", code="artifact")
    causes = [data["cause"] for data in events(heartbeat(release, 2, code="source"))]
    assert causes == ["STOPPED", "REGISTERED", "CODE_CHANGED"]


def test_a_change_of_the_environment_is_an_event(release: Release) -> None:
    for second, fingerprint in enumerate(("1", "1", "2")):
        worker = heartbeat(release, second, environment=environment(fingerprint))
    assert events(worker) == [{"cause": "ENVIRONMENT_CHANGED", "fingerprint": "2", "previousFingerprint": "1"}]


def test_drift_is_an_event_when_a_worker_registers_and_when_its_differences_change(release: Release) -> None:
    drifted = environment("1", MISSING)
    for second, reported in enumerate((drifted, drifted, environment("1"), environment("1", "c 1 is installed"))):
        worker = heartbeat(release, second, environment=reported)
    assert events(worker) == [
        {"cause": "ENVIRONMENT_DRIFT", "differences": [MISSING], "differenceCount": 1},
        {"cause": "ENVIRONMENT_DRIFT", "differences": ["c 1 is installed"], "differenceCount": 1},
    ]
    second_release = making.active(release.pipeline.tenant, "2.0")
    worker = heartbeat(second_release, 9, environment=environment("1", "c 1 is installed"))
    assert [data["cause"] for data in events(worker)[2:]] == ["RELEASE_CHANGED", "ENVIRONMENT_DRIFT"]


def test_an_event_names_only_some_of_many_differences(release: Release) -> None:
    many = [f"{number} is not installed, required is 1" for number in range(MOST_DIFFERENCES)]
    [event] = events(heartbeat(release, environment=environment("1", *many, count=500)))
    assert (event["differences"], event["differenceCount"]) == (many[:5], 500)


@cases("member", ["differences", "python", "platform", "fingerprint"])
def test_a_report_that_cannot_be_stored_is_not_valid(member: str) -> None:
    value: Any = ["\0"] if member == "differences" else "\0"
    with pytest.raises(ValidationError):
        WorkerEnvironment(**{"fingerprint": "", "python": "", "platform": "", member: value})


def test_a_rest_worker_that_takes_the_place_of_a_celery_worker_reports_no_code(release: Release) -> None:
    heartbeat(release, code="source", environment=environment("1", MISSING))
    tenant = release.pipeline.tenant
    rest_workers.register(tenant, release.identity, worker_id="w", protocol="rest", actor="user:olga")
    worker = Worker.objects.get(tenant=tenant, worker_id="w")
    assert (worker.code, worker.environment_fingerprint, worker.environment) == ("", "", None)
    assert WorkerEligibility.objects.get(pk=worker.pk).reason == "ENDPOINT_NOT_ALLOWED"
    assert Worker.objects.filter(pk=worker.pk, environment__isnull=True).exists()


def task_of(wakeup: Any) -> Any:
    return wakeup.args[0]


# --- the policy ---


@cases("allowed", [False, True])
@cases("code", [None, "artifact", "image", "source"])
def test_a_pipeline_refuses_workers_with_unverified_code_unless_its_policy_allows_them(
    release: Release, code: Any, allowed: bool
) -> None:
    if allowed:
        allow(release)
    worker = heartbeat(release, code=code)
    found = WorkerEligibility.objects.get(pk=worker.pk)
    if code != "source" or allowed:
        assert (found.reason, found.admits) == (None, True)
        require_healthy(release)
        return
    assert (found.reason, found.admits, found.state) == ("UNVERIFIED_CODE", False, "HEALTHY")
    with pytest.raises(WorkerUnavailable, match="current states: w=UNVERIFIED_CODE"):
        require_healthy(release)
    [none, unverified] = hosts.warnings(release)
    assert none.startswith("No healthy worker hosts it")
    assert unverified.startswith("Workers with unverified code")
    assert unverified.endswith(": w")


def test_new_pipelines_refuse_workers_with_unverified_code(release: Release) -> None:
    assert Pipeline.objects.get(pk=release.pipeline_id).unverified_workers == "refuse"


def instructed(worker: Worker, identity: ReleaseIdentity) -> bool:
    """Send the worker its instruction. Return whether it says to drain."""
    tasks.tell_worker(worker.pk)
    [(_, [message])] = taken(instruction_queue_of(identity, worker.worker_id))
    envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
    return decode(envelope, Instruction).drain


def test_a_refused_worker_is_instructed_to_drain(release: Release) -> None:
    """The workers of a release share a queue, so a refused worker must not take the commands of the others."""
    worker = heartbeat(release, code="source")
    assert instructed(worker, release.identity)
    allow(release)
    assert not instructed(worker, release.identity)
    drain(release.pipeline.tenant, making.PIPELINE, "w", actor="user:olga")
    assert instructed(worker, release.identity)


def test_a_worker_of_a_pipeline_that_does_not_exist_is_instructed_to_drain_if_its_code_is_unverified() -> None:
    tenant = making.tenant()
    identity = ReleaseIdentity(tenant.slug, "org.example.none", "1", "1")
    for code, drains in (("source", True), ("artifact", False)):
        body = Heartbeat(worker_id=f"w-{code}", state="HEALTHY", capacity=1, code=code)  # type: ignore[arg-type]
        take_heartbeat(tenant, identity, body, SENT)
        assert instructed(Worker.objects.get(tenant=tenant, worker_id=f"w-{code}"), identity) == drains


@cases("allowed", [False, True])
@cases("taking", [False, True])
def test_a_worker_that_does_not_follow_the_policy_gets_an_instruction(
    release: Release,
    taking: bool,
    allowed: bool,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    if allowed:
        allow(release)
    heartbeat(release, code="source")
    with django_capture_on_commit_callbacks() as wakeups:
        heartbeat(release, 1, code="source", taking=taking)
    assert (INSTRUCT_TASK in [task_of(wakeup) for wakeup in wakeups]) == (taking != allowed)
