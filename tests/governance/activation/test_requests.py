from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from foundation.errors import CoordinatorError
from governance.activation.activation import activate
from governance.gradual import changes, operations
from governance.gradual.changes import start
from governance.gradual.plan import Bounds
from governance.requests.requests import Decision, carry_out, carry_out_due, decide, withdraw
from governance.retirement.retirement import blockers, retire, revoke
from governance.tasks import carry_out_requests
from releases import active_then, pointer, policy, queries
from releases.artifacts import blob_lock
from releases.models import Activation, ActivationRequest, GradualActivation, Kind, Release, Vote
from tenancy.models import AuditEntry, Membership
from tests import gradual, making
from tests.cases import cases
from tests.raw_sql import raised, run, unguarded
from tests.releases.refusals import refusal
from tests.requesting import active, candidate, let_pass, open_request, person, read, soon, voted

pytestmark = pytest.mark.django_db
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "wrong"}


def acts() -> list[str]:
    return list(AuditEntry.objects.order_by("id").values_list("act", flat=True))


def failed_when_due(request: ActivationRequest) -> str:
    """Let the request become due and fail. Return the code of its failure."""
    let_pass(request, 2)
    assert carry_out_due() == 0
    assert (making.reread(request).status, active(request.release)) == ("FAILED", "1.0")
    return request.code


def test_the_last_approval_activates_what_was_approved() -> None:
    release = candidate(2)
    error = refusal(activate, release, actor="user:ann")
    assert (error.code, error.status, error.data) == ("APPROVAL_REQUIRED", 409, {"approvals": 2})
    request, voter = open_request(release), person(release.pipeline.tenant)
    assert (request.status, request.round, request.base) == ("OPEN", 1, read(release.pipeline.tenant).activation)
    for _ in range(2):
        assert voted(request, voter, comment=" fine ").status == "OPEN"
    error = refusal(voted, request, voter, Decision.REFUSE)
    assert (error.code, error.data) == ("ALREADY_VOTED", {"decision": "approve"})
    assert (Vote.objects.count(), active(release)) == (1, "1.0")
    done = voted(request)
    made = done.activation
    assert (done.status, active(release)) == ("ACTIVATED", "2.0")
    assert (made.release, made.actor, made.reason, made.request) == (release, request.actor, "faster", request)
    assert [vote.comment for vote in done.counted_votes] == ["fine", ""]
    assert refusal(withdraw, request, **WHY).code == "REQUEST_NOT_OPEN"


def test_one_refusal_refuses_the_request() -> None:
    release = candidate(2)
    request = open_request(release)
    voted(request)
    assert voted(request, decision=Decision.REFUSE, comment="not on a Friday").status == "REFUSED"
    assert active(release) == "1.0"
    assert refusal(voted, request).data == {"requestStatus": "REFUSED"}


@cases(
    "lose",
    lambda voter: Membership.objects.filter(user=voter).delete(),
    lambda voter: User.objects.filter(pk=voter.pk).update(is_active=False),
)
def test_only_voters_who_hold_the_right_count(lose: Callable[[User], object]) -> None:
    release = candidate(2)
    first, second, third = (person(release.pipeline.tenant) for _ in range(3))
    request = open_request(release, activate_at=soon())
    voted(request, first)
    lose(first)
    assert refusal(voted, request, first, Decision.REFUSE).status == 404
    assert [voted(request, second).status, voted(request, third).status] == ["OPEN", "APPROVED"], "when it is decided"
    lose(second)
    assert failed_when_due(request) == "APPROVAL_REQUIRED", "and carried out"
    assert request.detail == "Approvals needed: 2. Of those who approved it, 1 may still vote."


@cases("moves", [False, True])
def test_approvals_count_again_when_their_voters_regain_the_right(moves: bool) -> None:
    release = candidate(2)
    request, voter = open_request(release), person(release.pipeline.tenant)
    for who, has_right in ((voter, False), (None, True)):
        assert voted(request, who).status == "OPEN"
        carry_out_requests()
        assert active(release) == "1.0"
        User.objects.filter(pk=voter.pk).update(is_active=has_right)
    if moves:
        change_policy(release)
    carry_out_requests()
    assert (active(release), "activation_request.approve" in acts()) == ("1.0" if moves else "2.0", not moves)


def test_what_cannot_be_requested_leaves_no_request() -> None:
    release = candidate()
    requester = person(release.pipeline.tenant)
    assert refusal(open_request, release, requester, reason=" ").code == "REASON_REQUIRED"
    error = refusal(open_request, release, requester, expected_release_version="2.0")
    assert error.code == "ACTIVE_RELEASE_CHANGED"
    for days in (-0.01, 365.01):
        at = soon() - timedelta(hours=1) + timedelta(days=days)
        error = refusal(open_request, release, requester, activate_at=at)
        assert (error.code, error.status, error.errors[0]["field"]) == ("ACTIVATION_TIME_INVALID", 422, "activateAt")
    first = open_request(release, requester, operation_key="k")
    assert open_request(release, requester, operation_key="k") == first
    other = making.registered(release.pipeline.tenant, "3.0")
    assert refusal(open_request, other, requester, operation_key="k").code == "OPERATION_KEY_REUSED"
    error = refusal(open_request, release, requester, operation_key="k", activate_at=soon())
    assert (error.code, error.status) == ("OPERATION_KEY_REUSED", 409)


def change_policy(release: Release) -> list[dict[str, Any]]:
    policy.change(release.pipeline, {"retryLimit": 7}, actor="user:admin")
    return [{"member": "retryLimit", "before": None, "after": 7}]


def change_active(release: Release) -> list[dict[str, Any]]:
    other = open_request(making.registered(release.pipeline.tenant, "1.1"))
    for _ in range(2):
        voted(other)
    return [{"member": "activeRelease", "before": "1.0 (activation 1)", "after": "1.1 (activation 2)"}]


@cases(("change", "repeated"), [(change_policy, True), (change_policy, False), (change_active, False)])
def test_a_vote_that_finds_something_moved_restarts_the_request(change: Any, repeated: bool) -> None:
    release = candidate(2)
    request, voter = open_request(release), person(release.pipeline.tenant)
    assert voted(request, voter).status == "OPEN"
    changes = change(release)
    caught = raised(CoordinatorError, voted, request, voter if repeated else None)
    assert (caught.code, caught.status) == ("REQUEST_RESTARTED", 409)
    assert caught.data == {"round": 2, "moved": changes}
    assert acts()[-1] == "activation_request.restart"
    assert refusal(voted, request, person(release.pipeline.tenant), round_number=1).data["round"] == 2
    assert (making.reread(request).round, request.moved, request.status) == (2, changes, "OPEN")
    assert voted(request, voter, round_number=1).round == 2, "the repeated vote of an earlier round changes nothing"
    assert [voted(request).status, voted(request, voter).status] == ["OPEN", "ACTIVATED"]
    assert list(Vote.objects.filter(request=request).order_by("id").values_list("round", flat=True)) == [1, 2, 2]


def test_an_approved_request_fails_if_something_moved_before_its_time() -> None:
    release = candidate()
    request = voted(open_request(release, activate_at=soon()))
    assert request.status == "APPROVED"
    change_policy(release)
    assert failed_when_due(request) == "REQUEST_OUTDATED"
    assert "retryLimit was none and is now 7" in request.detail
    assert acts()[-1] == "activation_request.fail"


def test_a_schedule_waits_for_its_time_and_then_for_the_artifact_store(settings: Any) -> None:
    release = candidate(0)
    request = open_request(release, activate_at=soon())
    assert (request.status, request.expires_at) == ("APPROVED", request.activate_at)
    assert (carry_out(request).status, carry_out_due()) == ("APPROVED", 0)
    let_pass(request, 2)
    elsewhere = settings.ARTIFACT_ROOT.rename(settings.ARTIFACT_ROOT.with_name("elsewhere"))
    assert carry_out(request).status == "APPROVED"
    elsewhere.rename(settings.ARTIFACT_ROOT)
    assert (carry_out_due(), active(release)) == (1, "2.0")
    assert (carry_out_due(), carry_out(request).status) == (0, "ACTIVATED")
    assert Activation.objects.filter(release=release).count() == 1


def test_a_request_that_waits_lets_others_pass() -> None:
    first, second = [open_request(candidate(0, version), activate_at=soon()) for version in ("2.0", "3.0")]
    for request in (first, second):
        let_pass(request, 2)
    digest = first.release.artifacts.get().digest
    making.stored_file(digest).unlink()
    with blob_lock.exclusive(digest):
        assert carry_out_due(group=1) == 1
    assert [active(first.release), active(second.release)] == ["1.0", "3.0"]


def test_a_request_without_enough_votes_expires() -> None:
    release = candidate()
    policy.change(release.pipeline, {"approvalHours": 2}, actor="user:admin")
    request = open_request(release)
    let_pass(request, 1.5)
    assert decide() == 0
    let_pass(request, 1.5)
    assert [decide(), decide()] == [1, 0]
    assert making.reread(request).status == "EXPIRED"
    assert refusal(voted, request).data == {"requestStatus": "EXPIRED"}
    late = open_request(release, activate_at=soon())
    let_pass(late, 2)
    assert "EXPIRED" in str(raised(CoordinatorError, voted, late))
    assert (acts()[-1], Vote.objects.count()) == ("activation_request.expire", 0)


@cases(("approvals", "kind"), [(0, "SCHEDULE"), (1, "APPROVAL")])
def test_a_request_blocks_the_retirement_of_its_release_until_it_is_withdrawn(approvals: int, kind: str) -> None:
    release = candidate(approvals)
    request = open_request(release, activate_at=soon(), actor="token:bot")
    assert request.who == f"token:bot ({request.requester.username})"
    assert (request.approvals_needed, request.voting_ends_at) == (approvals, request.activate_at if approvals else None)
    assert [(blocker.kind, blocker.count) for blocker in blockers(release)] == [(kind, 1)]
    assert refusal(retire, release, **WHY).data["blockers"] == [{"kind": kind, "count": 1}]
    assert refusal(withdraw, request, actor="user:ann", reason=" ").code == "REASON_REQUIRED"
    for _ in range(2):
        gone = withdraw(request, **WHY)
        assert (gone.status, gone.detail, gone.ended_by) == ("WITHDRAWN", "wrong", "user:ann")
    assert acts().count("activation_request.withdraw") == 1
    let_pass(request, 2)
    assert (carry_out_due(), active(release)) == (0, "1.0")
    assert retire(release, **WHY).release == release


@cases("approvals", [0, 1])
def test_a_revocation_fails_the_requests_for_the_release(approvals: int) -> None:
    release = candidate(approvals)
    request = open_request(release, activate_at=soon())
    revoke(release, **WHY)
    assert (making.reread(request).status, request.code) == ("FAILED", "RELEASE_REVOKED")
    assert "wrong" in request.detail


@cases("days", [29, 31])
def test_a_rollback_to_a_release_that_was_active_long_ago_needs_approval(days: int) -> None:
    release = candidate()
    voted(open_request(release))
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - make_interval(days => %s)", days)
    first = queries.release(read(release.pipeline.tenant), "1.0")
    if days == 29:
        assert activate(first, **WHY).is_rollback
        return
    assert refusal(activate, first, **WHY).code == "APPROVAL_REQUIRED"
    assert voted(open_request(first)).activation.is_rollback


def test_an_override_needs_the_policy_and_a_reason_and_is_recorded_and_lifts_no_other_gate() -> None:
    release = candidate()
    assert refusal(activate, release, **WHY, override=True).code == "OVERRIDE_NOT_ALLOWED"
    policy.change(release.pipeline, {"emergencyOverride": True, "signaturePolicy": "require"}, actor="user:admin")
    assert refusal(activate, release, **WHY, override=True).code == "SIGNATURE_REQUIRED"
    policy.change(release.pipeline, {"signaturePolicy": "off"}, actor="user:admin")
    assert refusal(activate, release, actor="user:ann", override=True).code == "REASON_REQUIRED"
    made = activate(release, **WHY, override=True)
    assert (made.override, made.request) == (True, None)
    assert '"override":true' in AuditEntry.objects.latest("id").details


WHO: dict[str, Any] = {"actor": "user:ann"}
PLAN = gradual.plan(5, 50, tags=("canary",), bounds=Bounds(1, 2, 0.01))


def begun(approvals: int = 1) -> GradualActivation:
    """Return a gradual activation that an approved request started."""
    request = open_request(candidate(approvals), plan=PLAN)
    for _ in range(approvals):
        request = voted(request)
    running = operations.running(request.release.pipeline)
    assert running is not None
    return running


def test_the_last_approval_starts_what_was_approved() -> None:
    release = candidate(2)
    assert refusal(start, release, PLAN, **WHO).code == "APPROVAL_REQUIRED"
    request = voted(open_request(release, plan=PLAN))
    assert (request.status, request.plan) == ("OPEN", PLAN.columns)
    done = voted(request)
    made = done.activation
    assert made.gradual is not None
    assert (done.status, made.kind, made.candidate, made.share) == ("ACTIVATED", "gradual", release, Decimal(5))
    assert (operations.plan_of(made.gradual), made.gradual.actor, made.gradual.reason) == (PLAN, done.actor, "faster")
    assert active(release) == "1.0"
    assert acts()[-2:] == ["activation_request.vote", "gradual_activation.start"]


def test_without_approvals_a_start_happens_once_at_its_time() -> None:
    request = open_request(candidate(0), plan=PLAN, activate_at=soon())
    let_pass(request, 2)
    assert (carry_out_due(), carry_out_due(), GradualActivation.objects.count()) == (1, 0, 1)
    at_once = open_request(candidate(0), plan=PLAN)
    assert (at_once.status, at_once.activation.kind) == ("ACTIVATED", "gradual")


def test_a_start_that_cannot_happen_is_not_requested() -> None:
    release = candidate()
    requester = person(release.pipeline.tenant)
    first = queries.release(read(release.pipeline.tenant), "1.0")
    assert refusal(open_request, first, requester, plan=PLAN).code == "CANDIDATE_ACTIVE"
    made = open_request(release, requester, operation_key="k", plan=PLAN)
    assert open_request(release, requester, operation_key="k", plan=PLAN) == made
    for other in (None, gradual.plan(6)):
        error = refusal(open_request, release, requester, operation_key="k", plan=other)
        assert error.code == "OPERATION_KEY_REUSED"
    voted(made)
    third = making.registered(release.pipeline.tenant, "3.0")
    assert refusal(open_request, third, requester, plan=PLAN).code == "GRADUAL_ACTIVATION_RUNNING"


def test_steps_and_the_promotion_need_no_second_approval_and_name_the_first_one() -> None:
    made = begun(2)
    policy.change(made.pipeline, {"approvals": 1}, actor="user:admin")
    assert changes.move_on(made, **WHO).step == 1
    assert changes.promote(made, **WHO, reason="urgent").status == "PROMOTED"
    assert active(made.candidate) == "2.0"
    evidence = active_then.active_at(read(made.pipeline.tenant)).evidence
    assert (evidence.kind, len(evidence.approvals)) == ("promotion", 2)


def test_steps_and_a_promotion_under_a_stricter_policy_need_approval() -> None:
    made = begun()
    policy.change(made.pipeline, {"approvals": 2}, actor="user:admin")
    for call in (changes.move_on, changes.promote):
        error = refusal(call, made, **WHO)
        assert (error.code, error.data) == ("APPROVAL_REQUIRED", {"approvals": 2})
    denied = AuditEntry.objects.filter(outcome="denied").order_by("pk").values_list("act", flat=True)
    assert list(denied) == ["gradual_activation.step", "gradual_activation.promote"]
    more: dict[str, Any] = {"operation_key": None, "gradual": made, "share": Decimal(50)}
    with transaction.atomic():
        pipeline = operations.lock(made)
        with pytest.raises(IntegrityError, match="requires approvals"):
            pointer.append(pipeline, made.baseline, Kind.GRADUAL, **WHO, reason="", **more)
        transaction.set_rollback(True)
    request = open_request(made.candidate)
    for _ in range(2):
        request = voted(request)
    done = gradual.again(made)
    assert (request.status, request.activation.release) == ("ACTIVATED", made.candidate)
    assert (done.status, done.cause, active(made.candidate)) == ("PROMOTED", "person", "2.0")
