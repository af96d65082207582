"""The history of a worker: its reports, operators' requests, and when it becomes silent."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.errors import WorkerUnavailable, WorkerUnknown
from executions.lifecycle import outcome, sweep
from executions.lifecycle.cancellation import cancel
from executions.models import Execution, Worker, WorkerEligibility, WorkerEvent
from executions.state_machine.moves import Claim
from executions.state_machine.moves import owner as owner_name
from executions.workers import registry
from executions.workers.registry import DISPATCH_TASK, INSTRUCT_TASK, drain, take_heartbeat, undrain
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import refused, rows
from wire.messages.celery_messages import Heartbeat, HeldLease, OutcomeGroup

pytestmark = pytest.mark.django_db
SENT = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LONG_AGO = timezone.now() - timedelta(hours=1)
OPERATOR = "user:olga"


@pytest.fixture
def release() -> Release:
    return making.active(making.tenant())


@pytest.fixture
def owner(release: Release) -> Tenant:
    return release.pipeline.tenant


def heartbeat(release: Release, second: int = 0, state: str = "HEALTHY", **members: Any) -> Worker:
    """Record a heartbeat of the worker w, sent at `second`."""
    body: dict[str, Any] = {"worker_id": "w", "state": state, "capacity": 2, **members}
    take_heartbeat(release.pipeline.tenant, release.identity, Heartbeat(**body), SENT + second * SECOND)
    return Worker.objects.get(tenant=release.pipeline.tenant, worker_id="w")


def tasks_of(callbacks: list[Any]) -> list[str]:
    """Return the tasks of the wake-ups, in order."""
    return [callback.args[0] for callback in callbacks]


def state(worker: Worker) -> str:
    return WorkerEligibility.objects.get(pk=worker.pk).state


def events(worker: Worker) -> list[tuple[str, str, str]]:
    """Return state, cause and actor of each event, oldest first. Checks that the worker's row has the newest state."""
    found = list(worker.events.order_by("id"))
    worker.refresh_from_db()
    assert worker.noted_state == (found[-1].state if found else "")
    return [(event.state, event.data["cause"], event.actor) for event in found]


def test_only_a_change_of_state_leaves_an_event(release: Release) -> None:
    for second, reported in enumerate(["HEALTHY", "HEALTHY", "DRAINING", "DRAINING", "UNAVAILABLE", "UNAVAILABLE"]):
        worker = heartbeat(release, second, reported)
    making.silence(worker, since=LONG_AGO)
    worker = heartbeat(release, 10)
    making.silence(worker, since=LONG_AGO)
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


def test_the_first_event_names_the_release(release: Release) -> None:
    [event] = heartbeat(release).events.all()
    pin = {"contractVersion": release.contract_version, "releaseVersion": "1.0"}
    assert event.data == {"cause": "REGISTERED", **pin}


def test_a_worker_may_host_another_release_under_the_same_name(release: Release, owner: Tenant) -> None:
    heartbeat(release)
    worker = heartbeat(making.active(owner, "2.0"), 1)
    assert worker.release_version == "2.0"
    assert [(cause, state) for state, cause, _ in events(worker)] == [
        ("REGISTERED", "HEALTHY"),
        ("RELEASE_CHANGED", "HEALTHY"),
    ]
    assert worker.events.get(data__cause="RELEASE_CHANGED").data["releaseVersion"] == "2.0"


def test_a_worker_that_drains_and_leaves_is_gone_since_its_first_report(release: Release) -> None:
    first = heartbeat(release, 0, "DRAINING").draining_since
    assert heartbeat(release, 1, "DRAINING").draining_since == first
    stopped = heartbeat(release, 2, "UNAVAILABLE").stopped_at
    assert heartbeat(release, 3, "UNAVAILABLE").stopped_at == stopped
    assert heartbeat(release, 4, "DRAINING").draining_since != first


def test_a_new_registration_ends_a_drain_that_the_worker_started(release: Release) -> None:
    first = heartbeat(release)
    heartbeat(release, 1, "DRAINING")
    heartbeat(release, 2, "UNAVAILABLE")
    again = heartbeat(release, 3)
    assert (state(again), again.draining_since, again.stopped_at) == ("HEALTHY", None, None)
    assert again.registered_at > first.registered_at


@cases("life", [["HEALTHY"], ["DRAINING", "UNAVAILABLE", "HEALTHY"], ["UNAVAILABLE", "HEALTHY"]])
def test_no_heartbeat_ends_a_drain_that_an_operator_requested(
    release: Release,
    owner: Tenant,
    life: list[str],
    settings: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 0
    heartbeat(release)
    making.execution(owner)
    drained_at = drain(owner, making.PIPELINE, "w", actor=OPERATOR).drained_by_operator_at
    with django_capture_on_commit_callbacks() as callbacks:
        for second, reported in enumerate(life, 1):
            worker = heartbeat(release, second, reported, taking=False)
    assert (state(worker), worker.drained_by_operator_at) == ("DRAINING", drained_at)
    assert callbacks == []
    assert making.claimed(owner) == []
    with pytest.raises(WorkerUnavailable, match="current states: w=DRAINING"):
        making.execution(owner, "another")


def test_an_operator_cancels_a_drain_and_work_resumes(
    release: Release, owner: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    heartbeat(release)
    execution = making.execution(owner)
    drain(owner, making.PIPELINE, "w", actor=OPERATOR, reason="new disk")
    with django_capture_on_commit_callbacks() as callbacks:
        worker = undrain(owner, making.PIPELINE, "w", actor="user:otto")
    assert state(worker) == "HEALTHY"
    assert tasks_of(callbacks) == [INSTRUCT_TASK, DISPATCH_TASK]
    assert [claim.execution_id for claim in making.claimed(owner)] == [execution.pk]
    assert events(worker)[1:] == [
        ("DRAINING", "OPERATOR_DRAINED", OPERATOR),
        ("HEALTHY", "OPERATOR_UNDRAINED", "user:otto"),
    ]
    assert worker.events.get(data__cause="OPERATOR_DRAINED").data["reason"] == "new disk"


def test_repeating_a_request_changes_nothing(
    release: Release, owner: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    heartbeat(release)
    with django_capture_on_commit_callbacks() as callbacks:
        undrain(owner, making.PIPELINE, "w", actor=OPERATOR)
        first = drain(owner, making.PIPELINE, "w", actor=OPERATOR)
        before = rows(Worker), rows(WorkerEvent)
        assert drain(owner, making.PIPELINE, "w", actor="user:otto") == first
    assert (rows(Worker), rows(WorkerEvent)) == before
    assert tasks_of(callbacks) == [INSTRUCT_TASK]


@cases(
    ("reported", "taking", "drained", "expected"),
    [
        ("HEALTHY", True, False, [DISPATCH_TASK]),
        ("HEALTHY", False, False, [INSTRUCT_TASK, DISPATCH_TASK]),
        ("HEALTHY", True, True, [INSTRUCT_TASK]),
        ("HEALTHY", False, True, []),
        # A worker that is leaving accepts nothing, with or without a request to drain.
        ("DRAINING", False, False, []),
        ("DRAINING", False, True, []),
        ("UNAVAILABLE", False, False, []),
    ],
)
@cases("known", [True, False])
def test_a_worker_whose_report_differs_from_its_row_gets_another_instruction(
    release: Release,
    owner: Tenant,
    reported: str,
    taking: bool,
    drained: bool,
    expected: list[str],
    known: bool,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    if known or drained:
        heartbeat(release)
    if drained:
        drain(owner, making.PIPELINE, "w", actor=OPERATOR)
    for second in (1, 2):
        with django_capture_on_commit_callbacks() as callbacks:
            worker = heartbeat(release, second, reported, taking=taking)
        assert tasks_of(callbacks) == expected
        instructions: list[Any] = [callback for callback in callbacks if tasks_of([callback]) == [INSTRUCT_TASK]]
        assert {callback.args[1] for callback in instructions} <= {(worker.pk,)}


def test_the_report_of_a_worker_is_stored(release: Release, owner: Tenant) -> None:
    making.worker(release, "other")
    making.execution(owner)
    [claim] = making.claimed(owner)
    lease = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token)
    worker = heartbeat(release, running=[lease])
    assert (worker.taking, worker.holding, worker.running, worker.abandoned) == (True, 1, 1, 0)
    worker = heartbeat(release, 1, waiting=[lease], abandoned=2)
    assert (worker.holding, worker.running, worker.abandoned) == (3, 0, 2)
    assert Execution.objects.get(pk=claim.execution_id).lease_owner == "worker:w"
    worker = heartbeat(release, 2, taking=False)
    assert (worker.taking, worker.holding) == (False, 0)


def held(claim: Claim, **members: Any) -> HeldLease:
    return HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, **members)


@cases("how", ["running", "waiting"])
@cases("end", ["cancelled", "taken over"])
def test_a_worker_that_holds_a_lost_lease_gets_instructions_until_it_drops_it(
    release: Release,
    owner: Tenant,
    how: str,
    end: str,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    heartbeat(release)
    for key in ("lost", "kept"):
        making.execution(owner, key)
    lost, kept = making.claimed(owner)
    if end == "cancelled":
        cancel(owner, lost.execution_id, actor=OPERATOR, reason="")
    else:
        Execution.objects.filter(pk=lost.execution_id).update(lease_expires_at=LONG_AGO)
        sweep.expire_leases()
    both: dict[str, Any] = {how: [held(lost, seconds=2), held(kept, seconds=2)]}
    for second in (1, 2):
        with django_capture_on_commit_callbacks() as callbacks:
            worker = heartbeat(release, second, **both)
        assert tasks_of(callbacks) == [INSTRUCT_TASK, DISPATCH_TASK]
        assert callbacks[0].args[1] == (worker.pk, [str(lost.lease_token)])  # type: ignore[attr-defined]
    with django_capture_on_commit_callbacks() as callbacks:
        heartbeat(release, 3, running=[held(kept, seconds=2)], abandoned=1)
    assert tasks_of(callbacks) == [DISPATCH_TASK]


def test_executions_of_a_worker_without_a_usable_thread_are_sent_to_another(
    release: Release, owner: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    making.worker(release, "other")
    heartbeat(release)
    making.execution(owner)
    [claim] = making.claimed(owner)

    def still_held(second: int, abandoned: int) -> bool:
        Execution.objects.filter(pk=claim.execution_id).update(lease_expires_at=LONG_AGO)
        with django_capture_on_commit_callbacks() as callbacks:
            heartbeat(release, second, waiting=[held(claim, seconds=9)], abandoned=abandoned)
        renewed = Execution.objects.get(pk=claim.execution_id).lease_expires_at != LONG_AGO
        assert (INSTRUCT_TASK in tasks_of(callbacks)) is not renewed
        return renewed

    assert still_held(1, abandoned=1)
    assert not still_held(2, abandoned=2)


def test_a_lease_that_ended_recently_causes_no_instruction(
    release: Release, owner: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """The outcome may have overtaken the heartbeat. Fast transitions would cause an instruction with each heartbeat."""
    heartbeat(release)
    making.execution(owner)
    [claim] = making.claimed(owner)
    outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)]))
    with django_capture_on_commit_callbacks() as callbacks:
        heartbeat(release, 1, running=[held(claim, seconds=0.2)], waiting=[held(claim, seconds=0.2)])
    assert tasks_of(callbacks) == [DISPATCH_TASK]


def test_a_worker_without_an_instruction_gets_one_even_if_it_drains(
    release: Release, owner: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """The instruction shows the worker that a coordinator accepts it."""
    heartbeat(release)
    drain(owner, making.PIPELINE, "w", actor=OPERATOR)
    with django_capture_on_commit_callbacks() as callbacks:
        heartbeat(release, 1, taking=False, answered=False)
        heartbeat(release, 2, taking=False)
    assert tasks_of(callbacks) == [INSTRUCT_TASK]


def test_a_cancellation_is_sent_to_the_worker_at_once(
    release: Release, owner: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    making.worker(release, "other")
    heartbeat(release)
    executions = [making.execution(owner, key) for key in ("held", "on its way")]
    claims = making.claimed(owner)
    worker = heartbeat(release, 1, running=[held(claims[0])])
    with django_capture_on_commit_callbacks() as callbacks:
        for execution in executions:
            cancel(owner, execution.pk, actor=OPERATOR, reason="")
            cancel(owner, execution.pk, actor=OPERATOR, reason="")
    wakeups: list[Any] = [each for each in callbacks if INSTRUCT_TASK in getattr(each, "args", ())]
    lost = [str(claims[0].lease_token)]
    assert [each.args for each in wakeups] == [(INSTRUCT_TASK, (worker.pk, lost), None)]


@cases("operation", [drain, undrain])
@cases(("pipeline", "name"), [(making.PIPELINE, "x"), ("org.example.other", "w")])
def test_only_a_tenants_own_workers_can_be_drained(
    release: Release, owner: Tenant, operation: Any, pipeline: str, name: str
) -> None:
    heartbeat(release)
    before = rows(Worker), rows(WorkerEvent)
    with pytest.raises(WorkerUnknown):
        operation(owner, pipeline, name, actor=OPERATOR)
    with pytest.raises(WorkerUnknown):
        operation(making.tenant(), making.PIPELINE, "w", actor=OPERATOR)
    assert (rows(Worker), rows(WorkerEvent)) == before


@cases(
    ("changes", "then"),
    [
        ({"last_heartbeat_at": LONG_AGO}, "STALE"),
        ({"stopped_at": SENT}, "UNAVAILABLE"),
        ({"draining_since": SENT}, "DRAINING"),
    ],
)
def test_a_request_is_recorded_in_the_history_for_every_state_of_the_worker(
    release: Release, owner: Tenant, changes: dict[str, Any], then: str
) -> None:
    worker = making.worker(release, "w", **changes)
    drain(owner, making.PIPELINE, "w", actor=OPERATOR)
    undrain(owner, making.PIPELINE, "w", actor=OPERATOR)
    assert [cause for _, cause, _ in events(worker)] == ["OPERATOR_DRAINED", "OPERATOR_UNDRAINED"]
    assert worker.noted_state == then


def test_silence_is_recorded_once_and_only_for_workers_that_should_report(release: Release) -> None:
    silent = [making.worker(release, f"silent-{n}", last_heartbeat_at=LONG_AGO) for n in range(3)]
    others = [
        making.worker(release, "healthy"),
        making.worker(release, "gone", last_heartbeat_at=LONG_AGO, stopped_at=LONG_AGO),
        making.worker(release, "draining", last_heartbeat_at=LONG_AGO, draining_since=LONG_AGO),
        making.worker(release, "drained", last_heartbeat_at=LONG_AGO, drained_by_operator_at=LONG_AGO),
    ]
    assert [registry.note_silent(actor="clock", limit=2) for _ in range(3)] == [2, 1, 0]
    assert [events(worker) for worker in silent] == [[("STALE", "SILENT", "clock")]] * 3
    assert [events(worker) for worker in others] == [[]] * 4


@cases("sql", ["UPDATE executions_workerevent SET actor = 'x'", "DELETE FROM executions_workerevent"])
def test_the_database_rejects_changes_and_removals_of_a_workers_history(release: Release, sql: str) -> None:
    heartbeat(release)
    assert refused(sql) == "workerevent_append_only"
