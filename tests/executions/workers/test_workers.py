from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions import tasks
from executions.errors import WorkerUnavailable
from executions.lifecycle import sweep
from executions.lifecycle.interventions import cancel
from executions.models import Execution, Worker, WorkerEligibility, WorkerEvent
from executions.state_machine.moves import Claim
from executions.state_machine.moves import owner as owner_name
from executions.workers import registry
from executions.workers.eligibility import require_healthy
from executions.workers.registry import DISPATCH_TASK, INSTRUCT_TASK, drain, take_heartbeat, undrain
from executions.workers.tenant_keys import active_keys
from releases import policy
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.making import PIPELINE
from tests.raw_sql import raised, unchanged
from tests.wakeups import announced
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import LONGEST_WORKER_ID, Heartbeat, HeldLease, Instruction, WorkerEnvironment
from wire.messages.queues import instruction_queue_of
from wire.messages.sealing import decode, verify

SENT = making.LONG_AGO
LONG_AGO = timezone.now() - timedelta(hours=1)
OPERATOR = "user:olga"


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    """An active release. One healthy worker of it, which sends no heartbeats here, admits submissions."""
    owner = making.tenant()
    release = making.active(owner)
    making.worker(release, "other")
    return owner, release


def heartbeat(release: Release, second: float = 0, state: str = "HEALTHY", **members: Any) -> Worker:
    body: dict[str, Any] = {"worker_id": "w", "state": state, "capacity": 2, **members}
    sent_at = SENT + timedelta(seconds=second)
    take_heartbeat(release.pipeline.tenant, release.identity, Heartbeat(**body), sent_at)
    return Worker.objects.get(tenant=release.pipeline.tenant, worker_id=body["worker_id"])


def causes(release: Release, second: float, state: str = "HEALTHY", **members: Any) -> list[str]:
    with announced() as wakeups:
        heartbeat(release, second, state, **members)
    return [wakeup[0] for wakeup in wakeups]


def held(claim: Claim, seconds: float = 2) -> HeldLease:
    return HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=seconds)


def state(worker: Worker) -> str:
    return WorkerEligibility.objects.get(pk=worker.pk).state


def events(worker: Worker) -> list[tuple[str, str, str]]:
    """Return state, cause and actor of each event, oldest first. Checks that the worker's row has the newest state."""
    events = list(worker.events.order_by("id"))
    assert making.reread(worker).noted_state == (events[-1].state if events else "")
    return [(event.state, event.data["cause"], event.actor) for event in events]


def test_the_first_heartbeat_registers_the_worker(release: Release) -> None:
    worker = heartbeat(release, artifact_id="app", artifact_digest="sha256:1", capacity=7)
    assert (worker.pipeline_id, worker.contract_version) == (PIPELINE, release.contract_version)
    assert (worker.release_version, worker.protocol, worker.capacity) == ("1.0", "celery", 7)
    assert (worker.artifact_id, worker.artifact_digest, worker.last_sent_at) == ("app", "sha256:1", SENT)
    # The coordinator's clock decides whether the worker is alive, not the worker's.
    assert abs(timezone.now() - worker.last_heartbeat_at) < timedelta(minutes=1)
    assert (worker.registered_at, state(worker)) == (worker.last_heartbeat_at, "HEALTHY")
    pin = {"contractVersion": release.contract_version, "releaseVersion": "1.0"}
    assert worker.events.get().data == {"cause": "REGISTERED", **pin}
    longest = "w" * LONGEST_WORKER_ID
    assert heartbeat(release, worker_id=longest).events.get().actor == f"worker:{longest}"


def test_only_a_change_of_state_leaves_an_event(release: Release) -> None:
    for second, reported in enumerate(["HEALTHY", "HEALTHY", "DRAINING", "DRAINING", "UNAVAILABLE", "UNAVAILABLE"]):
        worker = heartbeat(release, second, reported)
        assert state(worker) == reported
    making.silence(worker, since=LONG_AGO)
    making.silence(heartbeat(release, 10), since=LONG_AGO)
    assert sweep.silent_workers() == 1
    worker = heartbeat(release, 20)
    assert events(worker) == [
        ("HEALTHY", "REGISTERED", "worker:w"),
        ("DRAINING", "WORKER_DRAINS", "worker:w"),
        ("UNAVAILABLE", "STOPPED", "worker:w"),
        ("HEALTHY", "REGISTERED", "worker:w"),
        ("STALE", "SILENT", owner_name()),
        ("HEALTHY", "HEARD_AGAIN", "worker:w"),
    ]
    silent = worker.events.get(data__cause="SILENT")
    assert datetime.fromisoformat(silent.data["lastHeartbeatAt"]) == LONG_AGO


def test_workers_of_one_name_are_distinguished_by_tenant_and_pipeline_only(release: Release, owner: Tenant) -> None:
    releases = [release, making.active(owner, pipeline_id="org.example.other"), making.active(making.tenant())]
    for made in releases:
        take_heartbeat(made.pipeline.tenant, made.identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), SENT)
    workers = Worker.objects.filter(worker_id="w").values_list("tenant", "pipeline_id")
    assert sorted(workers) == sorted((made.pipeline.tenant_id, made.pipeline.pipeline_id) for made in releases)
    identity = making.active(owner, "2.0").identity
    take_heartbeat(owner, identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), SENT + timedelta(seconds=1))
    worker = Worker.objects.get(tenant=owner, pipeline_id=PIPELINE, worker_id="w")
    assert (worker.release_version, len(workers.all())) == ("2.0", 3)
    assert [cause for _, cause, _ in events(worker)] == ["REGISTERED", "RELEASE_CHANGED"]
    assert worker.events.get(data__cause="RELEASE_CHANGED").data["releaseVersion"] == "2.0"


def test_a_worker_drains_and_leaves_since_its_first_report_and_may_return(release: Release) -> None:
    registered = heartbeat(release)
    first = heartbeat(release, 1, "DRAINING").draining_since
    assert heartbeat(release, 2, "DRAINING").draining_since == first
    stopped = heartbeat(release, 3, "UNAVAILABLE").stopped_at
    assert heartbeat(release, 4, "UNAVAILABLE").stopped_at == stopped
    again = heartbeat(release, 5)
    assert (state(again), again.draining_since, again.stopped_at) == ("HEALTHY", None, None)
    assert again.registered_at > registered.registered_at
    assert heartbeat(release, 5.1).registered_at == again.registered_at
    restarted = heartbeat(release, 5.2, answered=False)  # a process that was killed cannot announce its end
    assert restarted.registered_at > again.registered_at
    assert heartbeat(release, 6, "DRAINING").draining_since != first


@cases("age", [0, 1])
def test_a_heartbeat_no_newer_than_the_last_one_changes_nothing(release: Release, claim: Claim, age: int) -> None:
    heartbeat(release, state="DRAINING")
    with unchanged():
        assert causes(release, -age, capacity=9, running=[held(claim)]) == []


def test_silence_is_recorded_once_and_only_for_workers_that_should_report(release: Release) -> None:
    silent = [making.worker(release, f"silent-{n}", last_heartbeat_at=LONG_AGO) for n in range(3)]
    others = [making.worker(release, "healthy")] + [
        making.worker(release, column, **dict[str, Any]({column: LONG_AGO, "last_heartbeat_at": LONG_AGO}))
        for column in ("stopped_at", "draining_since", "drained_by_operator_at")
    ]
    assert [registry.note_silent(actor="clock", limit=2) for _ in range(3)] == [2, 1, 0]
    assert [events(worker) for worker in silent] == [[("STALE", "SILENT", "clock")]] * 3
    assert [events(worker) for worker in others] == [[]] * 4


@cases("life", [["HEALTHY"], ["DRAINING", "UNAVAILABLE", "HEALTHY"]])
def test_no_heartbeat_ends_an_operators_drain(release: Release, owner: Tenant, life: list[str], settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 0
    making.execution(owner)
    heartbeat(release)
    Worker.objects.filter(worker_id="other").update(stopped_at=LONG_AGO)
    drained_at = drain(owner, PIPELINE, "w", actor=OPERATOR).drained_by_operator_at
    for second, reported in enumerate(life, 1):
        assert causes(release, second, reported, taking=False) == []
    assert (Worker.objects.get(worker_id="w").drained_by_operator_at, making.claimed(owner)) == (drained_at, [])
    refused = raised(WorkerUnavailable, making.execution, owner, "another")
    assert "other stopped; an operator drained w." in str(refused)


def test_an_operator_cancels_a_drain_and_work_resumes(release: Release, owner: Tenant, execution: Execution) -> None:
    heartbeat(release)
    Worker.objects.filter(worker_id="other").update(stopped_at=LONG_AGO)
    with announced() as wakeups:
        undrain(owner, PIPELINE, "w", actor=OPERATOR)
        first = drain(owner, PIPELINE, "w", actor=OPERATOR, reason="new disk")
        with unchanged(Worker, WorkerEvent):
            assert drain(owner, PIPELINE, "w", actor="user:otto") == first
    assert [wakeup[0] for wakeup in wakeups] == [INSTRUCT_TASK], "repeating a request changes nothing"
    with announced() as wakeups:
        worker = undrain(owner, PIPELINE, "w", actor="user:otto")
    assert [wakeup[0] for wakeup in wakeups] == [INSTRUCT_TASK, DISPATCH_TASK]
    assert [claim.execution_id for claim in making.claimed(owner)] == [execution.pk]
    undrained = ("HEALTHY", "OPERATOR_UNDRAINED", "user:otto")
    assert events(worker)[1:] == [("DRAINING", "OPERATOR_DRAINED", OPERATOR), undrained]
    assert worker.events.get(data__cause="OPERATOR_DRAINED").data["reason"] == "new disk"


@cases(
    ("reported", "taking", "drained", "expected"),
    ("HEALTHY", True, False, [DISPATCH_TASK]),
    ("HEALTHY", False, False, [INSTRUCT_TASK, DISPATCH_TASK]),
    ("HEALTHY", True, True, [INSTRUCT_TASK]),
    ("HEALTHY", False, True, []),
    ("DRAINING", False, False, []),
)
def test_a_worker_whose_report_differs_from_its_row_gets_another_instruction(
    release: Release, owner: Tenant, reported: str, taking: bool, drained: bool, expected: list[str]
) -> None:
    heartbeat(release)
    if drained:
        drain(owner, PIPELINE, "w", actor=OPERATOR)
    for second in (1, 2):
        assert causes(release, second, reported, taking=taking) == expected


@cases(("how", "end"), [("running", "cancelled"), ("waiting", "taken over")])
def test_a_worker_hears_of_a_lost_lease_until_it_drops_it(release: Release, owner: Tenant, how: str, end: str) -> None:
    heartbeat(release)
    for key in ("lost", "kept"):
        making.execution(owner, key)
    lost, kept = making.claimed(owner)
    if end == "cancelled":
        cancel(owner, lost.execution_id, actor=OPERATOR, reason="")
    else:
        making.lose_lease(lost)
    both: dict[str, Any] = {how: [held(lost), held(kept)]}
    for second in (1, 2):
        with announced() as wakeups:
            worker = heartbeat(release, second, **both)
        assert [wakeup[0] for wakeup in wakeups] == [INSTRUCT_TASK, DISPATCH_TASK]
        assert wakeups[0][1] == (worker.pk, [str(lost.lease_token)])
    assert causes(release, 3, running=[held(kept)], abandoned=1) == [DISPATCH_TASK]


def test_a_lease_that_ended_recently_causes_no_instruction(release: Release, claim: Claim) -> None:
    heartbeat(release)
    making.record(making.outcome_of(claim))
    assert causes(release, 1, running=[held(claim, 0.2)], waiting=[held(claim, 0.2)]) == [DISPATCH_TASK]


def test_a_cancellation_is_sent_to_the_worker_at_once(release: Release, owner: Tenant) -> None:
    heartbeat(release)
    executions = [making.execution(owner, key) for key in ("held", "on its way")]
    claims = making.claimed(owner)
    worker = heartbeat(release, 1, running=[held(claims[0])])
    with announced() as wakeups:
        for execution in executions * 2:
            cancel(owner, execution.pk, actor=OPERATOR, reason="")
    lost = [str(claims[0].lease_token)]
    assert [wakeup for wakeup in wakeups if wakeup[0] == INSTRUCT_TASK] == [(INSTRUCT_TASK, (worker.pk, lost), None)]


# --- code and environment ---

MISSING = "b is not installed, required is 2"
PYTHON = {"python": "cpython 3.12.1", "platform": "linux-x86_64"}


def environment(fingerprint: str = "1", *differences: str, count: int | None = None) -> WorkerEnvironment:
    total = len(differences) if count is None else count
    return WorkerEnvironment(
        fingerprint=fingerprint, **PYTHON, durable_pipelines="2", differences=list(differences), difference_count=total
    )


def changes(worker: Worker) -> list[dict[str, Any]]:
    states = [event.data for event in worker.events.order_by("id")]
    assert states[0]["cause"] == "REGISTERED"
    return states[1:]


def reported(worker: Worker) -> tuple[Any, ...]:
    return worker.code, worker.environment_fingerprint, worker.environment, worker.difference_count


NOTHING = ("", "", None, 0)


def test_the_row_of_a_worker_has_what_its_newest_heartbeat_reports(release: Release) -> None:
    worker = heartbeat(release)
    assert (reported(worker), changes(worker)) == (NOTHING, [])
    stored = {**PYTHON, "durablePipelines": "2", "differences": [MISSING]}
    for second, code in enumerate(("artifact", "source", "image"), 1):
        worker = heartbeat(release, second, code=code, environment=environment("1", MISSING, count=60))
        assert reported(worker) == (code, "1", {**stored, "differenceCount": 60}, 60)
    assert heartbeat(release, 8, environment=environment("1", "a", "b", count=0)).difference_count == 2
    assert reported(heartbeat(release, 9)) == NOTHING


def test_a_change_of_the_code_or_the_environment_is_an_event(release: Release) -> None:
    for second, code in enumerate(("artifact", "artifact", "source", None)):
        worker = heartbeat(release, second, code=code, environment=environment("1"))
    worker = heartbeat(release, 8, environment=environment("2"))
    assert changes(worker) == [
        {"cause": "CODE_CHANGED", "code": "source", "previousCode": "artifact"},
        {"cause": "CODE_CHANGED", "code": None, "previousCode": "source"},
        {"cause": "ENVIRONMENT_CHANGED", "fingerprint": "2", "previousFingerprint": "1"},
    ]


def allow(release: Release) -> None:
    policy.change(release.pipeline, {"unverifiedWorkers": "allow"}, actor="user:admin")


def is_drained(worker: Worker, identity: ReleaseIdentity) -> bool:
    tasks.tell_worker(worker.pk)
    [(_, [message])] = taken(instruction_queue_of(identity, worker.worker_id))
    return decode(verify(message, active_keys), Instruction).drain


def test_a_worker_with_unverified_code_is_refused_and_drained_unless_allowed(owner: Tenant, release: Release) -> None:
    assert Pipeline.objects.get().unverified_workers == "refuse"
    Worker.objects.filter(worker_id="other").update(stopped_at=LONG_AGO)
    worker = heartbeat(release, code="source")
    assert "w hosts code from a folder" in str(raised(WorkerUnavailable, require_healthy, release))
    assert is_drained(worker, release.identity)
    allow(release)
    require_healthy(release)
    assert not is_drained(worker, release.identity)
    drain(owner, PIPELINE, "w", actor=OPERATOR)
    assert is_drained(worker, release.identity)


@cases(("taking", "allowed"), [(True, False), (False, True), (True, True)])
def test_a_worker_that_breaks_the_policy_gets_an_instruction(release: Release, taking: bool, allowed: bool) -> None:
    if allowed:
        allow(release)
    heartbeat(release, code="source")
    assert (INSTRUCT_TASK in causes(release, 1, code="source", taking=taking)) == (taking != allowed)
