"""Gradual activations: each operation is one activation, and a refused one changes nothing."""

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from executions.holds import holds
from executions.models import AwaitUnit
from foundation.errors import CoordinatorError
from governance.activation import gates
from governance.activation.activation import activate, roll_back, target
from governance.activation.gates import Switch
from governance.gradual import changes, operations
from governance.gradual.changes import start
from governance.gradual.evidence import compare, evidence
from governance.gradual.measured import describe, watch, watch_one
from governance.gradual.plan import Bounds
from governance.reports.preflight import preflight
from governance.resubmission.resubmission import resubmit
from governance.retirement import retirement
from governance.retirement.retirement import retire, revoke
from governance.tasks import watch_gradual
from releases import queries
from releases.models import Activation, GradualActivation, Kind, Pipeline, Release
from releases.policy import change
from tenancy.models import AuditEntry, Tenant
from tests import gradual, making
from tests.cases import cases
from tests.raw_sql import run, unguarded
from tests.releases import refusals

pytestmark = pytest.mark.django_db

WHO: dict[str, Any] = {"actor": "user:ann"}
WHY: dict[str, Any] = {**WHO, "reason": "because"}


@pytest.fixture
def owner(owner: Tenant) -> Tenant:
    making.worker(making.active(owner))
    return owner


@pytest.fixture
def begun(owner: Tenant) -> GradualActivation:
    return gradual.started(owner, 5, 25.5, 100)


def newest(owner: Tenant) -> Activation:
    activation = queries.pipeline(owner, making.PIPELINE).activation
    assert activation is not None
    return activation


def history(owner: Tenant) -> list[tuple[str, str, str | None, Decimal | None]]:
    activations = queries.history(queries.pipeline(owner, making.PIPELINE)).order_by("sequence")
    return list(activations.values_list("kind", "release__release_version", "candidate__release_version", "share"))


def refusal(call: Any, *arguments: Any, **more: Any) -> CoordinatorError:
    return refusals.refusal(call, *arguments, **{**WHO, **more})


def test_a_candidate_gets_greater_shares_until_it_is_promoted_and_can_be_rolled_back(owner: Tenant) -> None:
    begun = gradual.started(owner, 5, 25.5, 100)
    assert (begun.status, begun.step, begun.baseline.release_version) == ("RUNNING", 0, "1.0")
    assert begun.steps[1] == {"share": 25.5, "minimumSample": 20, "minimumMinutes": 0}
    assert newest(owner).gradual == begun
    began = begun.step_started_at
    moved = changes.move_on(begun, **WHY, expected_step=0, expected_release_version="1.0")
    assert (moved.step, moved.step_started_at > began, moved.started_at) == (1, True, begun.started_at)
    changes.move_on(begun, **WHO)
    assert refusal(changes.move_on, begun).code == "NO_NEXT_STEP"
    for by in ("candidate", "baseline"):
        gradual.ended(getattr(begun, by), succeeded=[1.0] * 20)
    done = changes.promote(gradual.again(begun), **WHO)
    assert (done.status, done.cause, done.ended_by) == ("PROMOTED", "person", "user:ann")
    assert done.ended_at is not None
    assert newest(owner).previous == begun.baseline
    made = roll_back(queries.pipeline(owner, making.PIPELINE), **WHY, recent_only=True)
    assert (made.kind, made.release.release_version) == ("rollback", "1.0")
    assert target(queries.pipeline(owner, making.PIPELINE)) is None
    assert history(owner) == [
        ("activation", "1.0", None, None),
        *(("gradual", "1.0", "2.0", Decimal(share)) for share in ("5", "25.5", "100")),
        ("promotion", "2.0", None, None),
        ("rollback", "1.0", None, None),
    ]
    again = start(begun.baseline.pipeline.releases.get(release_version="2.0"), gradual.plan(10), **WHO)
    assert changes.promote(again, **WHY).status == "PROMOTED"
    entries = AuditEntry.objects.filter(act__startswith="gradual").order_by("pk")
    kinds = [entry.act.partition(".")[2] for entry in entries]
    assert kinds == ["start", "step", "step", "promote", "start", "promote"]
    assert {entry.object for entry in entries} == {f"{making.PIPELINE}/2.0"}


@cases("way", ["promotion", "activation"])
def test_a_promotion_without_evidence_needs_a_reason_and_the_history_names_what_is_missing(
    owner: Tenant, way: str
) -> None:
    new = gradual.candidate(owner)
    begun = start(new, gradual.plan(5, 50, minutes=10), **WHO)
    missing = (
        "Executions of the candidate that ended in this step: 0 of 20. Minutes since this step began: 0 of 10. "
        "Steps of the plan that have not begun: 1 of 2."
    )
    call = partial(changes.promote, begun) if way == "promotion" else partial(activate, new)
    assert preflight(new).reason_required
    error = refusal(call)
    assert (error.code, error.detail.endswith(missing)) == ("REASON_REQUIRED", True)
    noted = f"because (promoted without full evidence: {missing})"
    call(**WHY)
    assert (newest(owner).reason, gradual.again(begun).status) == (noted, "PROMOTED")
    assert "missingEvidence" in AuditEntry.objects.order_by("-pk")[0].details


def test_a_withdrawn_candidate_was_never_active(owner: Tenant, begun: GradualActivation) -> None:
    assert refusal(changes.withdraw, begun, reason=" ").code == "REASON_REQUIRED"
    done = changes.withdraw(begun, **WHY)
    assert history(owner)[-1] == ("withdrawal", "1.0", None, None)
    assert (done.status, done.cause, done.end_reason) == ("WITHDRAWN", "person", "because")
    for call in (changes.move_on, changes.promote, changes.withdraw):
        error = refusal(call, begun, reason="again")
        assert (error.code, error.data["gradualActivationStatus"]) == ("GRADUAL_ACTIVATION_ENDED", "WITHDRAWN")
    assert activate(begun.candidate, **WHO).kind == Kind.ACTIVATION


@cases(("version", "status", "cause"), [("2.0", "PROMOTED", "person"), ("3.0", "REPLACED", "activation")])
def test_an_activation_ends_it(owner: Tenant, begun: GradualActivation, version: str, status: str, cause: str) -> None:
    making.registered(owner, "3.0")
    release = Release.objects.select_related("pipeline__tenant").get(release_version=version)
    activate(release, actor="user:ben", reason="urgent")
    done = gradual.again(begun)
    assert (done.status, done.cause, done.ended_by) == (status, cause, "user:ben")
    assert done.end_reason == f"Release {version} was activated."
    assert history(owner)[-1] == ("activation", version, None, None)
    assert f'"{status.lower()}Candidate":"2.0"' in AuditEntry.objects.order_by("-pk")[0].details


@cases("which", ["candidate", "baseline"])
def test_a_revocation_of_either_withdraws_the_candidate(owner: Tenant, begun: GradualActivation, which: str) -> None:
    revoke(making.registered(owner, "3.0"), **WHY)
    assert gradual.again(begun).status == "RUNNING"
    change(begun.pipeline, {"approvals": 1}, **WHO)
    release = queries.release(begun.pipeline, getattr(begun, which).release_version)
    revoke(release, actor="user:ben", reason="leaks")
    done = gradual.again(begun)
    assert (done.status, done.cause, done.ended_by) == ("WITHDRAWN", "revocation", "user:ben")
    assert done.end_reason == f"Release {release.release_version} was revoked: leaks"
    assert history(owner)[-1] == ("withdrawal", "1.0", None, None)
    assert '"withdrawnCandidate":"2.0"' in AuditEntry.objects.order_by("-pk")[0].details


def test_both_releases_cannot_be_retired_while_it_is_running(begun: GradualActivation) -> None:
    assert {blocker.kind.value for blocker in retirement.blockers(begun.candidate)} == {"GRADUAL"}
    assert {blocker.kind.value for blocker in retirement.blockers(begun.baseline)} == {"ACTIVE", "GRADUAL"}
    assert refusal(retire, begun.candidate, reason="old").code == "RETIREMENT_BLOCKED"
    changes.withdraw(begun, **WHY)
    retire(begun.candidate, **WHY)
    assert begun.candidate.status == "RETIRED"


def test_an_operation_key_belongs_to_one_operation_and_returns_its_result(owner: Tenant) -> None:
    new, plan = gradual.candidate(owner), gradual.plan(5, 50, 100)
    first = start(new, plan, **WHO, operation_key="start")
    assert start(new, plan, **WHO, operation_key="start") == first
    assert refusal(start, new, gradual.plan(6), operation_key="start").code == "OPERATION_KEY_REUSED"
    assert [changes.move_on(first, **WHO, operation_key="step").step for _ in range(2)] == [1, 1]
    ends = [changes.withdraw(first, **WHY, operation_key="end").status for _ in range(2)]
    assert [*ends, changes.move_on(first, **WHO, operation_key="step").status] == ["WITHDRAWN"] * 3
    assert len(history(owner)) == 4
    activate(first.baseline, **WHO, operation_key="activation")
    other = gradual.started(owner, 1, 2, version="3.0")
    for call, *arguments in (
        (changes.move_on, other),
        (changes.promote, other),
        (changes.withdraw, other),
        (activate, other.candidate),
        (start, other.candidate, gradual.plan(1)),
    ):
        for key in ("step", "activation"):
            assert refusal(call, *arguments, reason="r", operation_key=key).code == "OPERATION_KEY_REUSED"


def test_expectations_that_are_wrong_and_other_pipelines(owner: Tenant, begun: GradualActivation) -> None:
    for call in (changes.move_on, changes.promote, changes.withdraw):
        assert refusal(call, begun, reason="r", expected_release_version="2.0").code == "ACTIVE_RELEASE_CHANGED"
    for call in (changes.move_on, changes.withdraw):
        error = refusal(call, begun, reason="r", expected_step=1)
        assert (error.code, error.data["step"]) == ("STEP_CHANGED", 0)
    making.active(owner, pipeline_id="org.example.other")
    other = queries.pipeline(owner, "org.example.other")
    assert refusal(lambda **_: operations.gradual_activation(other, begun.pk)).code == "GRADUAL_ACTIVATION_UNKNOWN"
    assert operations.running(other) is None


def test_what_cannot_start(owner: Tenant) -> None:
    new, plan = gradual.candidate(owner), gradual.plan(5)
    active = newest(owner).release
    assert refusal(start, active, plan).code == "CANDIDATE_ACTIVE"
    assert refusal(start, new, plan, expected_release_version="9.0").code == "ACTIVE_RELEASE_CHANGED"
    revoked = making.registered(owner, "0.1")
    revoke(revoked, **WHY)
    assert refusal(start, revoked, plan).code == "RELEASE_NOT_REGISTERED"
    made = start(new, plan, **WHO)
    error = refusal(start, making.registered(owner, "3.0"), plan)
    assert (error.code, error.data["gradualActivationId"]) == ("GRADUAL_ACTIVATION_RUNNING", str(made.pk))
    revoke(active, **WHY)
    assert refusal(start, new, plan).code == "ACTIVE_RELEASE_REVOKED"
    making.stored_file(new.artifacts.get().digest).unlink()
    assert refusal(start, new, plan).code == "ARTIFACT_MISSING"
    other = making.registered(owner, "1.0", pipeline_id="org.example.other")
    assert refusal(start, other, plan).code == "NO_ACTIVE_RELEASE"


@cases(
    ("policy", "code"),
    [({"reason_required": True}, "REASON_REQUIRED"), ({"signature_policy": "require"}, "SIGNATURE_REQUIRED")],
)
def test_the_policy_applies_to_start_and_promotion_alone(owner: Tenant, policy: dict[str, Any], code: str) -> None:
    new, plan = gradual.candidate(owner), gradual.plan(5, 50)
    Pipeline.objects.update(**policy)
    assert refusal(start, new, plan, reason=" ").code == code
    Pipeline.objects.update(reason_required=False, signature_policy="off")
    made = start(new, plan, **WHY)
    Pipeline.objects.update(**policy)
    assert refusal(changes.promote, made, reason=" ").code == code
    if code == "SIGNATURE_REQUIRED":
        denied = AuditEntry.objects.filter(outcome="denied").order_by("pk").values_list("act", flat=True)
        assert list(denied) == ["gradual_activation.start", "gradual_activation.promote"]
    assert changes.move_on(made, **WHY).step == 1
    changes.withdraw(made, **WHY)
    assert newest(owner).kind == Kind.WITHDRAWAL


def test_start_and_promotion_are_judged_in_a_transaction_too(owner: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[tuple[Kind, bool]] = []

    def judge(switch: Switch) -> None:
        judged.append((switch.kind, switch.binding))

    monkeypatch.setattr(gates, "GATES", (*gates.GATES, judge))
    made = gradual.started(owner, 5, 10)
    changes.move_on(made, **WHO)
    changes.promote(made, **WHY)
    assert judged == [(kind, binding) for kind in (Kind.GRADUAL, Kind.PROMOTION) for binding in (False, True)]


# --- the watch ---

Cause = GradualActivation.Cause
FAST, SLOW = [1.0 + n / 100 for n in range(30)], [3.0 + n / 100 for n in range(30)]


def standing(made: GradualActivation) -> tuple[str, int, str | None]:
    now = gradual.again(made)
    return now.status, now.step, now.cause


def test_a_candidate_that_fails_more_often_is_withdrawn(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 50)
    gradual.ended(made.baseline, succeeded=FAST * 4, failed=1)
    gradual.ended(made.candidate, succeeded=FAST[:15], failed=15)
    assert watch() == 1
    assert standing(made) == ("WITHDRAWN", 0, "failures")
    now, last = gradual.again(made), newest(owner)
    assert last.reason.startswith("15 of 30 executions of the candidate failed, and 1 of 121 of the active release")
    assert (now.ended_by, now.end_reason) == ("coordinator", last.reason)
    assert (last.kind, last.actor) == ("withdrawal", "coordinator")
    entry = AuditEntry.objects.order_by("-pk")[0]
    assert (entry.act, entry.actor) == ("gradual_activation.withdraw", "coordinator")
    assert watch() == 0


def test_a_good_candidate_moves_on_step_by_step_and_stays_at_the_last_one(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 50, 100)
    gradual.ended(made.baseline, succeeded=FAST)
    for step in (1, 2, 2):
        gradual.ended(made.candidate, succeeded=FAST[:20])
        watch_gradual()
        assert standing(made) == ("RUNNING", step, None)
        assert watch() == 0, "executions of an earlier step do not count for the next one"
    kinds = Activation.objects.order_by("sequence").values_list("kind", "actor")
    assert list(kinds)[1:] == [("gradual", "user:test"), ("gradual", "coordinator"), ("gradual", "coordinator")]


def test_a_step_waits_while_the_policy_requires_approvals(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 100)
    gradual.ended(made.candidate, succeeded=FAST)
    for approvals, changed in ((1, 0), (0, 1)):
        Pipeline.objects.update(approvals=approvals)
        assert watch() == changed
        assert standing(made)[1] == changed
    assert not AuditEntry.objects.filter(outcome="denied").exists()


@cases(("sample", "minutes"), [(31, 0), (20, 1)])
def test_a_step_needs_its_minimum_sample_and_its_minimum_time(owner: Tenant, sample: int, minutes: int) -> None:
    made = gradual.started(owner, 5, 50, sample=sample, minutes=minutes)
    gradual.ended(made.candidate, succeeded=FAST)
    assert watch() == 0
    if minutes:
        with unguarded(GradualActivation):
            run("UPDATE releases_gradualactivation SET step_started_at = now() - interval '61 seconds'")
        assert watch() == 1


def test_what_does_not_count(owner: Tenant) -> None:
    candidate = gradual.candidate(owner)
    gradual.ended(candidate, failed=30)
    made = start(candidate, gradual.plan(50, sample=20), actor="user:test")
    gradual.ended(made.candidate, failed=30, status="CANCELLED")
    for number in range(30):
        making.submitted(owner, f"open-{number}")
    [failed] = gradual.ended(made.candidate, failed=1)
    resubmit(owner, failed.pk, actor="user:ann", reason="again", release_version="2.0")
    assert evidence(made).candidate.ended == 1
    gradual.ended(made.candidate, failed=2, status="DLQ")
    assert (evidence(made).candidate.ended, evidence(made).candidate.failed) == (3, 3)


def test_durations_with_awaits_and_pauses_do_not_count(owner: Tenant) -> None:
    made = gradual.started(owner, 50)
    [asked, *_] = gradual.ended(made.candidate, succeeded=FAST[:5])
    unit = {"step_id": "s", "step_index": 0, "itemized": False, "gives_many": False, "expected_items": 1}
    with unguarded(AwaitUnit):
        AwaitUnit.objects.create(tenant=owner, execution=asked, **unit)
    assert evidence(made).candidate.timed == 4
    holds.pause(made.candidate, actor="user:ann", reason="look")
    assert (evidence(made).candidate.timed, evidence(made).candidate.ended) == (0, 5)
    holds.resume(made.candidate, actor="user:ann", reason="")
    assert evidence(made).candidate.timed == 0
    gradual.ended(made.candidate, succeeded=FAST[:2], age_seconds=-60)
    assert evidence(made).candidate.timed == 2


def test_a_watch_that_comes_late_changes_nothing(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 50, 100)
    gradual.ended(made.candidate, succeeded=FAST)
    late = gradual.again(made)
    changes.move_on(made, actor="user:ann")
    assert watch_one(late) is False
    assert standing(made)[1] == 1
    late = gradual.again(made)
    gradual.ended(made.baseline, succeeded=FAST * 4)
    gradual.ended(made.candidate, failed=30)
    changes.promote(made, actor="user:ann", reason="urgent")
    assert watch_one(late) is False
    assert standing(made) == ("PROMOTED", 1, "person")


def sample(ended: int, failed: int, seconds: float | None = None) -> list[tuple[bool, float | None]]:
    return [(number < failed, None if number < failed else seconds) for number in range(ended)]


@cases(
    ("candidate", "baseline", "crossed"),
    (sample(100, 20), sample(1000, 10), Cause.FAILURES),
    (sample(1000, 40), sample(1000, 5), None),  # significant, but within 5 percentage points
    (sample(50, 4), sample(50, 0), None),  # 8 points, p = 0.06
    (sample(49, 49), sample(1000, 0), None),  # the sample is too small
    (sample(50, 0, 2.0), sample(50, 0, 1.0), Cause.DURATION),
    (sample(50, 0, 1.4), sample(50, 0, 1.0), None),  # significant, but within the factor
    (sample(50, 0, 1.0), sample(50, 0, 2.0), None),
    (sample(100, 50, 2.0), sample(100, 0, 1.0), Cause.FAILURES),  # both
)
def test_a_bound_is_crossed_by_a_significant_difference(candidate: Any, baseline: Any, crossed: Cause | None) -> None:
    comparison = compare(candidate, baseline, minimum=50, bounds=Bounds())
    assert comparison.crossed == crossed
    if crossed is not None:
        assert "p = " in describe(comparison)
