from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions import statistics
from executions.holds import holds
from executions.inspection.callers import Caller, callers
from executions.inspection.counts import PlannedRelease, Reason, worker_plan
from executions.lifecycle import interventions
from executions.models import Execution, FinishedCount
from executions.schedules import schedules
from executions.tasks import count_finished
from foundation.errors import CoordinatorError
from governance.activation.activation import activate
from governance.reports.drift import Drift, Kind, Subject, drift
from governance.reports.preflight import Concern, preflight
from governance.retirement.retirement import revoke
from releases import policy
from releases.models import Activation, Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unchanged


@pytest.fixture
def newer(owner: Tenant, release: Release) -> Release:
    return making.registered(owner, "2.0")


def with_policy(release: Release, **members: Any) -> None:
    policy.change(release.pipeline, members, actor="user:admin")


def test_it_names_what_is_replaced_and_by_what_kind_of_activation(release: Release, newer: Release) -> None:
    report = preflight(newer)
    assert (report.active, report.kind) == (release, "activation")
    assert (report.reason_required, report.is_allowed) == (False, True)
    with_policy(newer, reasonRequired=True)
    assert preflight(newer).reason_required
    with_policy(newer, reasonRequired=False)
    activate(newer, actor="user:eva")
    back = preflight(release)
    assert (back.active, back.kind, back.reason_required) == (newer, "rollback", True)
    first = preflight(making.registered(making.tenant()))
    assert (first.active, first.remaining, first.differences, first.is_allowed) == (None, [], (), True)


def outcome_of(release: Release) -> str:
    """Activate the release. Return the code of the refusal, or nothing."""
    try:
        activate(release, actor="user:eva", reason="because")
    except CoordinatorError as refusal:
        return refusal.code
    return ""


@cases(
    ("members", "has_worker", "codes", "verdicts"),
    ({}, True, "", {}),
    ({"workerGate": "require"}, True, "", {"worker": "met"}),
    ({"workerGate": "require"}, False, "WORKER_REQUIRED", {"worker": "unmet"}),
    ({"workerGate": "warn"}, False, "", {"worker": "warning"}),
    ({"signaturePolicy": "require"}, True, "SIGNATURE_REQUIRED", {"signatures": "unmet"}),
    (
        {"signaturePolicy": "require", "workerGate": "require"},
        False,
        "SIGNATURE_REQUIRED WORKER_REQUIRED",
        {"signatures": "unmet", "worker": "unmet"},
    ),
    ({}, False, "ARTIFACT_MISSING", {}),
    ({}, False, "RELEASE_NOT_REGISTERED", {}),
)
def test_a_preflight_says_what_the_activation_does(
    newer: Release, members: dict[str, Any], has_worker: bool, codes: str, verdicts: dict[str, str]
) -> None:
    with_policy(newer, **members)
    making.worker(newer, "w2", stopped_at=None if has_worker else timezone.now())
    if codes == "ARTIFACT_MISSING":
        making.stored_file(newer.artifacts.get().digest).unlink()
    elif codes == "RELEASE_NOT_REGISTERED":
        revoke(newer, actor="user:eva", reason="leaks")
    report = preflight(newer)
    assert {gate.name: gate.verdict.value for gate in report.gates} == verdicts
    assert [refusal.code for refusal in report.refusals] == codes.split()
    assert report.is_allowed is not bool(codes)
    assert (Concern.GATE in [warning.concern for warning in report.warnings]) == ("warning" in verdicts.values())
    assert outcome_of(newer) == codes.partition(" ")[0]


OTHER_DIGEST = "sha256:" + "0" * 64


def evidence_of(finding: Drift) -> dict[str, str]:
    return {fact.name: fact.value for fact in finding.evidence}


@cases(
    ("members", "kind", "name"),
    ({"contract_version": OTHER_DIGEST}, Kind.CONTRACT, "The worker's contract"),
    ({"release_version": "9.0"}, Kind.DEPLOYMENT, "The worker's release"),
    ({"artifact_digest": OTHER_DIGEST}, Kind.ARTIFACT, "The worker's artifact"),
    ({"capability_error": "another release"}, Kind.DEPLOYMENT, "The last check"),
)
def test_odd_workers_are_found(owner: Tenant, release: Release, members: dict[str, Any], kind: Kind, name: str) -> None:
    rest: dict[str, Any] = {
        "protocol": "rest",
        "endpoint": "https://w.example",
        "capability_checked_at": timezone.now(),
    }
    worker = making.worker(release, "odd", **rest, **members)
    [finding] = drift(owner)
    assert (finding.kind, finding.subject, finding.name) == (kind, Subject.WORKER, "odd")
    assert evidence_of(finding)[name] in members.values()
    if kind != Kind.DEPLOYMENT:
        assert (finding.release_version, finding.since) == ("1.0", worker.registered_at)


def test_an_active_release_without_workers_is_found_since_its_activation(owner: Tenant, release: Release) -> None:
    newer = making.active(owner, "2.0")
    [finding] = drift(owner)
    assert (finding.kind, finding.subject, finding.name) == (Kind.DEPLOYMENT, Subject.RELEASE, "2.0")
    assert evidence_of(finding) == {"Active": "yes", "Open executions": "0", "Workers": "no worker is registered"}
    assert finding.since == Activation.objects.get(release=newer).activated_at
    assert "pipelines worker" in finding.remedy


def test_each_pipeline_and_each_tenant_has_its_own_drift(owner: Tenant, release: Release) -> None:
    making.execution(owner)
    assert drift(owner) == drift(owner, release.pipeline) == []
    other = making.active(owner, pipeline_id="org.example.other")
    [finding] = drift(owner)
    assert (finding.pipeline_id, finding.kind) == ("org.example.other", Kind.DEPLOYMENT)
    assert (drift(owner, release.pipeline), drift(owner, other.pipeline)) == ([], [finding])
    stranger, theirs = making.ready()
    making.worker(theirs, "odd", artifact_digest=OTHER_DIGEST)
    making.worker(theirs, "early", release_version="9.0")
    making.execution(stranger)
    making.active(stranger, "2.0")
    with unchanged():
        assert drift(owner) == [finding]
        assert len(drift(stranger)) == 3


def old_release(owner: Tenant) -> PlannedRelease:
    return {planned.release_version: planned for planned in worker_plan(owner)}["1.0"]


def test_the_workers_of_a_replaced_release_can_stop_when_nothing_uses_it(owner: Tenant) -> None:
    making.dead(owner, "finished")
    assert old_release(owner).reasons == (Reason.ACTIVE,)
    execution = making.execution(owner)
    making.worker(making.active(owner, "1.1", body="# another"), "of-the-next")
    old = old_release(owner)
    assert (old.reasons, old.can_stop, old.load.due) == ((Reason.OPEN,), False, 1)
    holds.pause(execution.release, actor="user:ann", reason="down")
    assert old_release(owner).load.due == 0
    holds.resume(execution.release, actor="user:ann")
    [claim] = making.claimed(owner)
    making.record(making.suspension(claim))
    assert old_release(owner).reasons == (Reason.AWAITING,)
    Pipeline.objects.update(skew_grace_minutes=5)
    assert Reason.PINNED in old_release(owner).reasons
    Pipeline.objects.update(skew_grace_minutes=0)
    interventions.cancel(owner, execution.pk, actor="user:ann", reason="")
    old = old_release(owner)
    assert (old.reasons, old.workers, old.can_stop, old.load.live) == ((), 0, True, 1)
    owner.workers.update(stopped_at=timezone.now())
    [active] = worker_plan(owner)
    assert (active.release_version, active.workers, active.load.live) == ("1.1", 1, 0)


def failed_at(owner: Tenant, minutes: float, *keys: str) -> list[Execution]:
    made = making.dead(owner, *keys)
    making.finished(timezone.now() - timedelta(minutes=minutes), *made)
    return made


def counts() -> list[tuple[int, int, int]]:
    return list(FinishedCount.objects.order_by("minute").values_list("succeeded", "failed", "cancelled"))


def test_a_late_commit_is_counted_by_the_next_run_and_a_redriven_failure_counts_and_stays(owner: Tenant) -> None:
    [failed] = failed_at(owner, 2, "soon")
    interventions.redrive(owner, failed.pk, actor="user:ann", reason="x", allow_failed=True)
    assert statistics.last_hour([owner.pk]).total(failed.release_id).failed == 1
    statistics.count()
    assert counts() == [(0, 1, 0)]
    making.claimed(owner)
    [late] = failed_at(owner, 2, "late")
    assert sum(failed for _, failed, _ in counts()) == 1
    statistics.count()
    assert sum(failed for _, failed, _ in counts()) == 2
    making.finished(timezone.now(), late)
    for _ in range(2):
        count_finished()
        assert sum(failed for _, failed, _ in counts()) == 2


def test_a_series_has_only_its_tenants_pipeline_and_period(owner: Tenant) -> None:
    other = making.ready()[0]
    failed_at(other, 5, "theirs")
    failed_at(owner, 5, "recent")
    failed_at(owner, 90, "older")
    for _ in range(2):  # before and after the clock has counted
        hour, day = statistics.last_hour([owner.pk]), statistics.last_day([owner.pk])
        [release] = hour.releases
        assert hour.total(release).failed == sum(hour.values("failed", release)) == 1
        assert sum(day.values("finished", release)) == day.total(release).finished
        pipeline = Release.objects.get(pk=release).pipeline_id
        assert statistics.last_hour([owner.pk], pipeline).total(release).failed == 1
        assert statistics.last_hour([owner.pk], pipeline + 1000).releases == {}
        statistics.count()
    assert statistics.last_day([owner.pk]).total(release).failed == 2
    assert set(statistics.last_day([owner.pk, other.pk]).releases) > {release}
    failed_at(owner, 1, "mine")
    making.ready(owner, pipeline_id="org.example.b")
    making.dead(owner, "newer", pipeline_id="org.example.b")
    assert statistics.last_hour([owner.pk], pipeline, most=1).total(release).failed == 2


# --- callers ---

ID = {"name": "id", "type": {"kind": "scalar", "id": "string"}}
PRICE = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
NOTES = {"name": "notes", "type": {"kind": "map", "key": "string", "value": {"kind": "scalar", "id": "string"}}}
NUMBERS = {"name": "notes", "type": {"kind": "map", "key": "string", "value": {"kind": "scalar", "id": "integer"}}}
SECRET = "4111-1111"


def order(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


@pytest.fixture
def typed() -> tuple[Tenant, Release]:
    return making.ready(canonicalTypes=order(ID, {**PRICE, "optional": True}))


@pytest.fixture
def strict(typed: tuple[Tenant, Release]) -> Release:
    return making.registered(typed[0], "2.0", canonicalTypes=order(ID, PRICE))


def test_schedules_that_the_activation_would_refuse_are_named(typed: tuple[Tenant, Release], strict: Release) -> None:
    owner, active = typed
    by_name: dict[str, dict[str, Any]] = {
        "fits": {"input": {"id": "x", "price": "1"}},
        "misses": {"paused": True},
        "removed": {},
        "named": {"release_version": active.release_version},
        **{f"z{number}": {} for number in range(6)},
    }
    for name, members in by_name.items():
        made = making.scheduled(owner, name, **{"input": {"id": "x"}, **members})
        if name == "removed":
            schedules.remove(made, actor="user:eva")
    details = [warning.detail for warning in preflight(strict).warnings if warning.concern is Concern.SCHEDULES]
    assert details[0].startswith("The input of the schedule misses would be refused: input.price: ")
    assert [detail.split()[5] for detail in details[1:5]] == ["z0", "z1", "z2", "z3"]
    assert details[5:] == [
        "The inputs of 2 other schedules would be refused, too.",
        f"Schedules that name release {active.release_version} are refused once it is not open: named.",
    ]
    assert [warning for warning in preflight(active).warnings if warning.concern is Concern.SCHEDULES] == []


def send(owner: Tenant, key: str, value: Any, actor: str = "token:shop", **more: Any) -> Execution:
    return making.submitted(owner, key, value, actor=actor, **more).execution


def met(caller: Caller) -> list[tuple[str, str]]:
    return [(example.path, example.rule) for example in caller.examples]


def test_a_caller_whose_inputs_would_be_refused_is_named(typed: tuple[Tenant, Release], strict: Release) -> None:
    owner, release = typed
    old = [send(owner, f"old-{n}", {"id": SECRET}) for n in range(3)]
    send(owner, "new", {"id": "a", "price": "1.50"}, actor="token:app")
    report = callers(strict, release)
    assert (report.submissions, report.count, report.sampled, report.checked, report.failing) == (4, 2, 4, 4, 3)
    shop, app = report.callers
    assert (shop.name, shop.executions, shop.checked, shop.failing) == ("token:shop", 3, 3, 3)
    [example] = shop.examples
    assert (example.path, example.rule) == ("input.price", "is required")
    assert example.execution_id in {execution.pk for execution in old}
    assert (app.name, app.checked, app.failing, app.examples) == ("token:app", 1, 0, [])
    assert SECRET not in repr(report)


def test_names_that_are_values_are_not_shown(typed: tuple[Tenant, Release]) -> None:
    owner, _ = typed
    active = making.active(owner, "1.1", canonicalTypes=order(ID, NOTES))
    making.worker(active, "w")
    after = making.registered(owner, "2.0", canonicalTypes=order(NUMBERS))
    send(owner, "k", {"id": "a", "notes": {SECRET: SECRET}})
    [caller] = callers(after, active).callers
    assert met(caller) == [("input.notes{}", "must be an integer")]
    assert SECRET not in repr(caller)
    send(owner, "l", {"id": "a", "notes": {}})
    [caller] = callers(after, active).callers
    assert ("input.id", "is not a member of the type") in met(caller)
