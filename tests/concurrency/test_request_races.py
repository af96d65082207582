from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from alerts import channels
from governance.activation.activation import activate
from governance.requests import states
from governance.requests.requests import Decision, carry_out, withdraw
from governance.retirement.retirement import retire, revoke
from releases import policy
from releases.models import Activation, ActivationRequest, Release, Vote
from tenancy.models import Membership
from tests import making
from tests.alerts.alerting import channel
from tests.concurrency.racing import parted, race
from tests.concurrency.sessions import ended_after
from tests.repetition import rounds
from tests.requesting import active, candidate, let_pass, open_request, person, soon, voted

ROUNDS = rounds(5)
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "wrong"}
Call = Callable[[], Any]


def voting(request: ActivationRequest, decision: Decision = Decision.APPROVE) -> Call:
    voter = person(request.release.pipeline.tenant)
    return partial(voted, request, voter, decision)


def statuses() -> list[str]:
    return sorted(ActivationRequest.objects.values_list("status", flat=True))


def require_sound(release: Release) -> None:
    history = list(Activation.objects.filter(pipeline=release.pipeline).order_by("sequence"))
    assert [each.sequence for each in history] == list(range(1, len(history) + 1))
    carried_out = {each.request_id for each in history} - {None}
    assert carried_out == set(ActivationRequest.objects.filter(status="ACTIVATED").values_list("pk", flat=True))


@pytest.mark.parametrize("approvals", [1, 2])
@pytest.mark.parametrize("_", ROUNDS)
def test_two_last_votes_activate_once(_: int, approvals: int) -> None:
    release = candidate(approvals)
    request = open_request(release)
    won, lost = parted(race(voting(request), voting(request)))
    assert (len(won), lost) == ((2, []) if approvals == 2 else (1, ["RequestNotOpen"]))
    assert statuses() == ["ACTIVATED"]
    assert Activation.objects.filter(release=release).count() == 1
    assert Vote.objects.count() == approvals


@pytest.mark.parametrize("_", ROUNDS)
def test_a_refusal_and_the_last_approval_exclude_each_other(_: int) -> None:
    release = candidate()
    request = open_request(release)
    won, lost = parted(race(voting(request), voting(request, Decision.REFUSE)))
    assert (len(won), lost) == (1, ["RequestNotOpen"])
    assert statuses() == [won[0].status]
    assert active(release) == {"ACTIVATED": "2.0", "REFUSED": "1.0"}[won[0].status]


@pytest.mark.parametrize("end", [revoke, retire])
@pytest.mark.parametrize("_", ROUNDS)
def test_no_request_slips_past_the_end_of_its_release(_: int, end: Any) -> None:
    release = candidate()
    asking = partial(open_request, release, person(release.pipeline.tenant))
    _made, _ended = race(asking, partial(end, release, **WHY))
    release.refresh_from_db()
    undecided = ActivationRequest.objects.filter(status__in=["OPEN", "APPROVED"]).exists()
    assert undecided is (release.status == "REGISTERED")


def test_a_vote_waits_for_an_activation_and_finds_that_the_active_release_moved() -> None:
    release = candidate()
    policy.change(release.pipeline, {"emergencyOverride": True}, actor="user:admin")
    rival = making.registered(release.pipeline.tenant, "3.0")
    request = open_request(release)
    error = ended_after(partial(activate, rival, **WHY, override=True), voting(request)).exception()
    assert type(error).__name__ == "RequestRestarted"
    assert active(release) == "3.0"
    assert Activation.objects.get(pipeline=release.pipeline, sequence=2).override


@pytest.mark.parametrize("change", ["withdrawn", "SCOPE_MISSING", "APPROVAL_REQUIRED"])
def test_a_request_that_loses_its_ground_while_the_clock_waits_is_not_carried_out(change: str) -> None:
    """It is withdrawn, or its requester or its voter loses the right."""
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
    require_sound(release)


@pytest.mark.parametrize("_", ROUNDS)
def test_a_policy_names_no_channel_that_is_removed_at_the_same_time(_: int) -> None:
    release = candidate(0)
    ops = channel(release.pipeline.tenant, name="ops")
    name = partial(policy.change, release.pipeline, {"notifyChannel": "ops"}, actor="user:ann")
    results = race(name, partial(channels.remove, ops, actor="user:ann"))
    [lost] = parted(results)[1]
    assert lost in {"PolicyInvalid", "AlertChannelInPolicy"}
    release.pipeline.refresh_from_db()
    assert (release.pipeline.notify_channel == "ops") is channels.kept(release.pipeline.tenant).exists()
