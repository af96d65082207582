"""Decisions about releases: a call that waited for a lock decides on the committed state."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from executions.holds import holds
from executions.lifecycle.interventions import redrive
from executions.models import Campaign, Execution, Resubmission
from executions.workers import registry
from governance.activation import gates
from governance.activation.activation import activate
from governance.activation.gates import Switch, Verdict
from governance.campaigns import campaigns
from governance.gradual import changes
from governance.gradual.measured import watch
from governance.requests import states
from governance.requests.requests import Decision as Vote
from governance.requests.requests import carry_out, withdraw
from governance.resubmission.resubmission import resubmit
from governance.retirement.retirement import retire, revoke
from releases import policy
from releases.models import ActivationRequest, Attachment, Kind, Pipeline, Release
from releases.trust import attachments, trust
from tenancy.models import Membership, Tenant
from tests import gradual, making, signing
from tests.cases import returning
from tests.concurrency import scenes
from tests.concurrency.sessions import Decision, assert_decided, ended_after
from tests.governance.campaigns.campaigning import codes
from tests.requesting import active, candidate, let_pass, open_request, person, soon, voted

WHY: dict[str, Any] = {"actor": "user:ann", "reason": "wrong"}


# --- activations ---


def releases(*versions: str) -> list[Release]:
    owner = making.tenant()
    return [scenes.fresh(making.registered(owner, version)) for version in versions]


def stricter(release: Release) -> object:
    return policy.change(release.pipeline, {"signaturePolicy": "require"}, actor="user:x")


def attached(release: Release, *names: str) -> Sequence[Attachment]:
    contents = [json.dumps(signing.cyclone([name])).encode() for name in names or ("same",)]
    return attachments.attach(release, contents, actor="user:x")


ACTIVATE, REVOKE = partial(activate, actor="user:x"), partial(revoke, actor="user:x", reason="a mistake")
RETIRE = partial(retire, actor="user:x", reason="replaced")
ONE_RELEASE: list[tuple[Callable[[Release], object], Callable[[Release], object], object]] = [
    (stricter, ACTIVATE, "SignatureRequired"),
    (REVOKE, ACTIVATE, "ReleaseNotRegistered"),
    (RETIRE, ACTIVATE, "ReleaseNotRegistered"),
    (RETIRE, REVOKE, "ReleaseNotRegistered"),
    (ACTIVATE, RETIRE, "RetirementBlocked"),
    (REVOKE, lambda release: revoke(release, actor="user:y", reason="second").reason, "a mistake"),
    (REVOKE, attached, "ReleaseNotRegistered"),
    (attached, attached, []),
]


@pytest.mark.parametrize(("first", "second", "expected"), ONE_RELEASE)
def test_the_second_call_about_a_release_sees_the_first(first: Any, second: Any, expected: object) -> None:
    [release] = releases("1.0")
    assert_decided((partial(first, release), partial(second, scenes.fresh(release)), expected))


def the_last_worker_that_is_drained() -> Decision:
    owner, release = making.ready()
    policy.change(release.pipeline, {"workerGate": "require"}, actor="user:x")

    def drain_it() -> None:
        Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        registry.drain(owner, release.pipeline.pipeline_id, "worker-1", actor="user:x")

    return drain_it, partial(activate, scenes.fresh(release), actor="user:y"), "WorkerRequired"


def another_active_release() -> Decision:
    release, other = releases("1.0", "2.0")
    second = partial(activate, other, actor="user:y", expected_release_version="")
    return partial(activate, release, actor="user:x"), second, "ActiveReleaseChanged"


def the_same_operation() -> Decision:
    [release] = releases("1.0")
    activating = partial(activate, release, actor="user:x", operation_key="k")
    return activating, lambda: activating().sequence, 1


def the_last_allowed_attachment() -> Decision:
    [release] = releases("1.0")
    attached(release, *(str(number) for number in range(Attachment.MAX_PER_RELEASE - 1)))
    return partial(attached, release, "last"), partial(attached, release, "one too many"), "AttachmentsFull"


def a_key_that_an_activation_relies_on() -> Decision:
    [release] = releases("1.0")
    attachments.attach(release, [signing.envelope(release.descriptor)], actor="user:x")
    key = signing.trusted(release.pipeline.tenant)

    def rely_on_it() -> None:
        [gate] = gates.require_met(Switch(release, release.pipeline, Kind.ACTIVATION, binding=True))
        assert (gate.verdict, gate.detail) == (Verdict.MET, "Signed by ci.")

    def revoke_it() -> trust.Standing:
        trust.revoke_key(key, actor="user:y", reason="leaked")
        return trust.trust_of(release).standing

    return rely_on_it, revoke_it, trust.Standing.REVOKED_KEYS


# --- requests ---


def voting(request: ActivationRequest, vote: Vote = Vote.APPROVE) -> Callable[[], ActivationRequest]:
    return partial(voted, request, person(request.release.pipeline.tenant), vote)


def the_last_two_votes() -> Decision:
    request = open_request(candidate(2))
    last = voting(request)
    return voting(request), lambda: last().status, "ACTIVATED"


def a_refusal_of_an_activated_request() -> Decision:
    request = open_request(candidate())
    return voting(request), voting(request, Vote.REFUSE), "RequestNotOpen"


def a_vote_after_another_activation() -> Decision:
    release = candidate()
    policy.change(release.pipeline, {"emergencyOverride": True}, actor="user:admin")
    rival = making.registered(release.pipeline.tenant, "3.0")
    return partial(activate, rival, **WHY, override=True), voting(open_request(release)), "RequestRestarted"


def a_request_for_a_release_that_is_being_revoked() -> Decision:
    release = candidate()
    asking = partial(open_request, scenes.fresh(release), person(release.pipeline.tenant))
    return partial(revoke, release, **WHY), asking, "ReleaseNotRegistered"


# --- gradual activations ---


def a_withdrawal_of_a_promoted_candidate() -> Decision:
    made = gradual.started(making.ready()[0], 5)
    promote = partial(changes.promote, gradual.again(made), **WHY)
    return promote, partial(changes.withdraw, made, **WHY), "GradualActivationEnded"


def a_promotion_of_a_withdrawn_candidate() -> Decision:
    promote, withdrawal, expected = a_withdrawal_of_a_promoted_candidate()
    return withdrawal, promote, expected


def a_second_watch() -> Decision:
    made = gradual.started(making.ready()[0], 5, 50, 100)
    gradual.ended(made.baseline, succeeded=[1.0] * 100)
    gradual.ended(made.candidate, succeeded=[1.0] * 20)
    return watch, watch, 0


# --- resubmissions ---


def resubmittable() -> tuple[Tenant, Execution, Release]:
    owner, _ = making.ready()
    [execution] = making.dead(owner, "key")
    return owner, execution, scenes.fresh(gradual.candidate(owner, "1.1"))


def resubmitting(owner: Tenant, execution: Execution, **members: Any) -> Callable[[], Execution]:
    return partial(resubmit, owner, execution.pk, actor="user:ann", reason="", **members)


def a_repeated_resubmission() -> Decision:
    owner, execution, _ = resubmittable()
    again = resubmitting(owner, execution, operation_key="k")
    return again, lambda: (again().pk, Resubmission.objects.count())[1], 1


def a_redrive_of_what_is_resubmitted() -> Decision:
    owner, execution, _ = resubmittable()
    return resubmitting(owner, execution), partial(redrive, owner, execution.pk, **WHY), "ExecutionReplaced"


def another_resubmission() -> Decision:
    owner, execution, _ = resubmittable()
    return resubmitting(owner, execution), resubmitting(owner, execution), "ExecutionReplaced"


def a_redrive_of_a_resubmission_whose_original_is_redriven() -> Decision:
    owner, execution, _ = resubmittable()
    new = resubmitting(owner, execution)()
    [claim] = making.claimed(owner)
    making.record(making.failure(claim))
    both = [partial(redrive, owner, each.pk, **WHY) for each in (execution, new)]
    return both[0], both[1], "ExecutionReplaced"


def a_campaign_over_what_is_resubmitted_after_its_preview() -> Decision:
    owner, execution, _ = resubmittable()
    made = scenes.start_campaign(owner)
    Campaign.objects.update(rate_since=timezone.now() - timedelta(seconds=60))
    return (
        resubmitting(owner, execution),
        lambda: (campaigns.advance(), *codes(made).values()),
        (0, "EXECUTION_REPLACED"),
    )


def a_resubmission_after_an_activation() -> Decision:
    owner, execution, release = resubmittable()
    again = resubmitting(owner, execution)
    return partial(activate, release, actor="user:bob"), lambda: again().release_version, "1.1"


@pytest.mark.parametrize("decision", returning(Decision, globals()))
def test_the_second_call_sees_what_the_first_has_committed(decision: Callable[[], Decision]) -> None:
    assert_decided(decision())


@pytest.mark.parametrize("change", ["withdrawn", "SCOPE_MISSING", "APPROVAL_REQUIRED"])
def test_a_request_that_loses_its_ground_while_the_clock_waits_is_not_carried_out(change: str) -> None:
    release = candidate(1)
    request, voter = open_request(release, activate_at=soon()), person(release.pipeline.tenant)
    voted(request, voter)
    let_pass(request, 2)

    def lose_ground() -> None:
        if change == "withdrawn":
            withdraw(request, **WHY)
        else:
            left = request.requester if change == "SCOPE_MISSING" else voter
            Membership.objects.filter(user=left).delete()

    done = ended_after(partial(states.lock, request), partial(carry_out, request), lose_ground).result()
    assert (done.status, done.code) == (("WITHDRAWN", "") if change == "withdrawn" else ("FAILED", change))
    assert active(release) == "1.0"


REFUSALS: dict[str, Callable[[Any], object]] = {
    "revocation": partial(revoke, actor="user:bob", reason="leaked"),
    "pause": partial(holds.pause, actor="user:eva", reason="broken", refuses_submissions=True),
    "pause of the pipeline": lambda release: REFUSALS["pause"](release.pipeline),
}


@pytest.mark.parametrize("named", [True, False], ids=["named", "active"])
@pytest.mark.parametrize("act", REFUSALS)
def test_a_resubmission_that_waits_for_a_revocation_or_a_pause_is_refused(act: str, named: bool) -> None:
    owner, execution, release = resubmittable()
    if named:
        making.replaced(release)
    else:
        activate(release, actor="user:ann")
    waiting = resubmitting(owner, execution, release_version="1.1" if named else None)
    error = ended_after(partial(REFUSALS[act], release), waiting).exception()
    revoked = "ReleaseNotAdmitted" if named else "ActiveReleaseRevoked"
    assert type(error).__name__ == (revoked if act == "revocation" else "PipelinePaused")
    assert not Resubmission.objects.exists()
