"""Gradual activations: each operation is one activation, and a refused one changes nothing."""

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from foundation.errors import CoordinatorError
from governance.activation import gates
from governance.activation.activation import activate, roll_back, target
from governance.activation.gates import Switch
from governance.gradual import changes, operations
from governance.gradual.changes import start
from governance.reports.preflight import preflight
from governance.retirement import retirement
from governance.retirement.retirement import retire, revoke
from releases import queries
from releases.models import Activation, GradualActivation, Kind, Pipeline, Release
from releases.policy import change
from tenancy.models import AuditEntry, Tenant
from tests import gradual, making
from tests.cases import cases
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
