"""One view decides which worker may run a release. Admission, claim, stranded work and pages all agree with it."""

from collections.abc import Callable
from dataclasses import astuple
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from coordinator.monitoring import gauges
from executions.errors import WorkerUnavailable
from executions.holds import holds
from executions.inspection.fleet import Condition, fleet
from executions.lifecycle import sweep
from executions.models import Execution, Worker, WorkerEligibility
from executions.transports.rest import artifact_conflict
from executions.workers import eligibility, registry
from executions.workers.eligibility import explained, require_healthy, stranded, why_stranded
from governance.activation.activation import activate
from governance.reports.drift import drift
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.workers.test_workers import heartbeat
from tests.raw_sql import check_foreign_keys_now, raised, rows_read, run, unguarded

AGO = timezone.now() - timedelta(hours=1)
IMAGE = "sha256:" + "1" * 64
OTHER = "sha256:" + "0" * 64


def pinning(owner: Tenant, *names: str, version: str = "1.0") -> Release:
    """An active release that pins these artifacts: stored files (`file`, `second`) and a container image (`image`)."""
    contract = making.contract()
    files = {"file": making.archive(contract, code=version), "second": making.archive(None, code=version)}
    document = making.descriptor(contract, files["file"], version)
    image = {"artifactId": "image", "kind": "container-image", "uri": f"registry.example/app@{IMAGE}", "digest": IMAGE}
    pinned = {"image": image} | {
        name: {"artifactId": name, "kind": "local-file", "uri": name, "digest": making.digest_of(data)}
        for name, data in files.items()
    }
    document["artifacts"] = [pinned[name] for name in names]
    sent = [data for name, data in files.items() if name in names]
    release = making.verified(making.upload(owner, document, *sent).release)
    activate(release, actor="user:test")
    return release


@pytest.fixture(scope="module")
def pinned(module_world: None) -> tuple[Tenant, Release]:
    owner = making.tenant()
    return owner, pinning(owner, "file", "second", "image")


REASONS: dict[str, dict[str, Any]] = {
    "PROTOCOL_NOT_SUPPORTED": {"protocol": "sqs"},
    "STOPPED": {"stopped_at": AGO},
    "RELEASE_UNKNOWN": {"release_version": "9"},
    "OTHER_ARTIFACT": {"artifact_digest": OTHER},
    "UNVERIFIED_CODE": {"code": "source"},
    "SILENT": {"alive_until": AGO},
    "ENDPOINT_NOT_ALLOWED": {"blocked_reason": "ENDPOINT_NOT_ALLOWED"},
}
CELERY_ONLY = ("PROTOCOL_NOT_SUPPORTED", "UNVERIFIED_CODE", "SILENT")
GOOD: list[dict[str, Any]] = [{}, {"artifact_digest": IMAGE}, {"capacity": 2, "abandoned": 1}]


@cases("protocol", ["celery", "rest"])
@cases(("reason", "changes"), [*((None, changes) for changes in GOOD), *REASONS.items()])
def test_all_parts_agree_on_eligibility(pinned: Any, protocol: str, reason: str | None, changes: Any) -> None:
    if protocol == "rest" and reason in CELERY_ONLY:
        return
    owner, release = pinned
    members = {"protocol": protocol, "capability_checked_at": timezone.now(), **changes}
    making.worker(release, "other", stopped_at=AGO)
    making.worker(release, "first")
    making.execution(owner)
    with unguarded(Worker):
        Worker.objects.filter(worker_id="first").delete()
    worker = making.worker(release, **members)

    row = WorkerEligibility.objects.get(pk=worker.pk)
    runs = reason is None
    assert (row.reason, row.admits) == (reason, runs)
    if runs:
        require_healthy(release)
    else:
        raised(WorkerUnavailable, require_healthy, release)
    named = eligibility.hosts(release)
    assert (named.eligible, named.capacity > 0) == ([worker.worker_id] if runs else [], runs)
    expected = ["STOPPED" if reason == "RELEASE_UNKNOWN" else str(reason)]
    assert why_stranded(release.pk) == (None if runs else explained(expected))
    assert [group.reasons for group in stranded([owner.pk])] == ([] if runs else [expected])
    assert [claim.protocol for claim in making.claimed(owner)] == ([protocol] if runs else [])
    owners = Execution.objects.filter(status="RUNNING").values_list("lease_owner", flat=True)
    assert set(owners) <= {row.lease_owner if protocol == "rest" else "dispatcher"}


def test_a_worker_names_an_artifact_of_its_release_by_id_digest_or_both() -> None:
    owner = making.tenant()
    earlier = pinning(owner, "file", version="0.9").artifacts.get().digest
    release = pinning(owner, "file", "second", "image")
    pinned = {artifact.artifact_id: artifact.digest for artifact in release.artifacts.all()}
    assert len({earlier, OTHER, *pinned.values()}) == 5
    worker = making.worker(release)
    for digest in ("", *pinned.values(), earlier, OTHER):
        for artifact_id in ("", *pinned, "other"):
            Worker.objects.filter(pk=worker.pk).update(artifact_digest=digest, artifact_id=artifact_id)
            row = WorkerEligibility.objects.get(pk=worker.pk)
            fits = any(artifact_id in ("", name) and digest in ("", pinned[name]) for name in pinned)
            assert (row.admits, row.reason) == (fits, None if fits else "OTHER_ARTIFACT"), (digest, artifact_id)
            assert (artifact_conflict(release, artifact_id, digest) is None) == fits, (digest, artifact_id)


def test_a_silent_rest_worker_admits_nothing_and_runs_accepted_executions(owner: Tenant, release: Release) -> None:
    """Lifecycle counts at submission, and never at dispatch."""
    worker = Worker.objects.get()
    making.execution(owner)
    Worker.objects.update(protocol="rest", alive_until=AGO)
    row = WorkerEligibility.objects.get(pk=worker.pk)
    assert (row.state, row.reason, row.admits) == ("STALE", None, False)
    assert "worker-1 sends no heartbeats" in str(raised(WorkerUnavailable, require_healthy, release))
    assert stranded([owner.pk]) == []
    assert len(making.claimed(owner)) == 1


def test_the_fleet_says_which_release_waits_for_a_worker_of_its_version(owner: Tenant, release: Release) -> None:
    environment = {"python": "3.11.2", "platform": "linux", "differences": ["a"], "differenceCount": 2}
    Worker.objects.update(worker_id="host-a-17", environment=environment, environment_fingerprint="f")
    making.worker(release, "host-a-18")
    making.execution(owner)
    [only] = fleet(owner)
    assert (only.condition, only.hosts, only.states) == (Condition.SERVED, {"host-a": 2}, {"HEALTHY": 2})
    assert [(environment.workers, environment.differences) for environment in only.environments] == [(1, 2)]
    assert only.command == ""
    newer = making.registered(owner, "2.0")
    activate(newer, actor="user:test")
    making.worker(newer, "next")
    Worker.objects.filter(release_version="1.0").update(drained_by_operator_at=AGO)
    stalled, served = fleet(owner)
    assert (stalled.condition, served.condition) == (Condition.STALLED_BY_VERSION, Condition.SERVED)
    assert (stalled.others, stalled.reasons) == (["2.0"], ["DRAINED_BY_OPERATOR"])
    assert stalled.command == f"pipelines worker {making.PIPELINE}@1.0"
    Worker.objects.filter(worker_id="next").update(stopped_at=AGO)
    assert [release.condition for release in fleet(owner)] == [Condition.STALLED, Condition.UNHOSTED]
    holds.pause(release, actor="user:test", reason="because")
    Worker.objects.filter(worker_id="next").update(stopped_at=None, release_version="3.0")
    [unknown, *others] = fleet(owner)
    assert (unknown.condition, unknown.planned.release_version, unknown.command) == (Condition.UNKNOWN, "3.0", "")
    assert {release.condition for release in others} == {Condition.UNHOSTED}


# --- former workers and stranded work ---

FORMER = 2_000
NOW = timezone.now()


def end_old_lease(owner: Tenant) -> int:
    """End a lease that was claimed before the former workers stopped, and that a heartbeat has renewed since."""
    making.execution(owner, "old")
    assert making.claimed(owner)
    Execution.objects.update(lease_expires_at=making.LONG_AGO, updated_at=making.LONG_AGO, lease_worker="w")
    return sweep.expire_leases()


def test_queries_of_workers_read_no_former_ones(owner: Tenant, release: Release, subtests: pytest.Subtests) -> None:
    [worker] = Worker.objects.values()
    changes = ({"id": None, "worker_id": f"former-{number}", "stopped_at": NOW} for number in range(FORMER))
    Worker.objects.bulk_create(Worker(**{**worker, **change}) for change in changes)
    run("ANALYZE executions_worker")
    of_tenant: list[Callable[[Tenant], object]] = [making.claimed, end_old_lease, fleet, drift]
    of_release: list[Callable[[Release], object]] = [require_healthy, eligibility.hosts]
    readers: list[Callable[[], object]] = [
        *(partial(reader, owner) for reader in of_tenant),
        *(partial(reader, release) for reader in of_release),
        *(partial(stranded, [owner.pk]), partial(why_stranded, release.pk), gauges.read),
        partial(registry.note_silent, actor="sweep", limit=10),
    ]
    for reader in readers:
        with subtests.test(str(reader)):
            before = rows_read(Worker)
            reader()
            assert rows_read(Worker) - before < FORMER / 10


DAY = timedelta(days=1)


@cases(
    ("changes", "left"),
    ({"stopped_at": NOW - 8 * DAY}, None),
    ({"stopped_at": NOW - 6 * DAY}, "STOPPED"),
    ({"stopped_at": NOW - 8 * DAY, "drained_by_operator_at": NOW}, "STOPPED"),
    ({"alive_until": NOW - 3 * DAY}, "GIVEN_UP"),
    ({"alive_until": NOW - DAY}, "STOPPED"),
    ({"alive_until": NOW - 3 * DAY, "protocol": "rest"}, "STOPPED"),
    ({"alive_until": None}, "STOPPED"),
)
def test_a_worker_stops_after_two_days_and_goes_a_week_later(release: Release, changes: Any, left: str | None) -> None:
    gone = making.worker(release, "w", **changes)
    registry.note(gone.pk, "UNAVAILABLE", actor="w", cause="STOPPED")
    assert registry.tidy(actor="sweep") == (left != "STOPPED")
    check_foreign_keys_now()
    causes = Worker.objects.filter(pk=gone.pk).values_list("events__data__cause", flat=True)
    assert list(causes.order_by("-events__id")[:1]) == ([left] if left else [])


def test_a_worker_that_stopped_by_its_silence_registers_again(release: Release) -> None:
    heartbeat(release)
    Worker.objects.filter(worker_id="w").update(alive_until=NOW - 3 * DAY)
    registry.tidy(actor="sweep")
    assert Worker.objects.get(worker_id="w").stopped_at is not None
    assert heartbeat(release, 1).stopped_at is None


def due_since(execution: Execution, age: timedelta) -> None:
    Execution.objects.filter(pk=execution.pk).update(next_due_at=NOW - age)


def test_only_due_executions_count(owner: Tenant, release: Release) -> None:
    later, over, running = (making.execution(owner, key) for key in ("later", "over", "running"))
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    making.record(making.outcome_of(claims[over.pk]), making.failure(claims[later.pk]))
    Worker.objects.update(stopped_at=NOW)
    assert stranded([owner.pk]) == []
    due_since(later, timedelta())
    [group] = stranded([owner.pk])
    assert (group.tenant, group.pipeline_id, group.contract_version, group.release_version) == astuple(release.identity)
    assert (group.release_id, group.count) == (release.pk, 1)
    assert making.reread(running).status == "RUNNING"


def test_each_release_of_the_requested_tenants_is_listed_separately(owner: Tenant, release: Release) -> None:
    making.execution(owner, "one")
    second = making.active(owner, "2.0")
    making.worker(second, "worker-2")
    for key in ("two", "three"):
        making.execution(owner, key)
    other, _ = making.ready()
    making.execution(other)
    Worker.objects.update(stopped_at=NOW)
    assert [(group.release_id, group.count) for group in stranded([owner.pk])] == [(second.pk, 2), (release.pk, 1)]
    assert len(stranded([owner.pk, other.pk])) == 3
    assert stranded([]) == []


HOUR = timedelta(hours=1)


@cases(
    ("due", "changes", "since"),
    (3, {"last_heartbeat_at": NOW - 2 * HOUR, "alive_until": NOW - HOUR}, 2),
    (1, {"stopped_at": NOW - 2 * HOUR}, 1),
    (3, {"draining_since": NOW - 2 * HOUR}, 2),
    (3, {"drained_by_operator_at": NOW - 2 * HOUR}, 2),
    (3, {"drained_by_operator_at": NOW - HOUR, "stopped_at": NOW - 2 * HOUR}, 2),
    (3, {"abandoned": 10}, 3),
    (3, {"artifact_digest": "sha256:other"}, 3),
    (3, {"code": "source"}, 3),
)
def test_since_when_work_is_stranded(owner: Tenant, release: Release, due: int, changes: Any, since: int) -> None:
    due_since(making.execution(owner, "old"), due * HOUR)
    due_since(making.execution(owner, "new"), timedelta())
    Worker.objects.update(**{"last_heartbeat_at": NOW, **changes})
    making.worker(release, "earlier", stopped_at=NOW - 9 * HOUR, last_heartbeat_at=NOW - 9 * HOUR)
    [group] = stranded([owner.pk])
    assert (group.count, group.since) == (2, NOW - since * HOUR)
