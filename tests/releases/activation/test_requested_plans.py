"""Requests that start gradual activations, and the approvals of what follows the start."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from releases import queries
from releases.activation import pointer, policy
from releases.activation.gradual import ending, operations, steps
from releases.activation.gradual.plan import Bounds
from releases.activation.gradual.start import start
from releases.activation.requests.carrying_out import carry_out_due
from releases.models import GradualActivation, Kind, Release
from tenancy.models import AuditEntry
from tests import gradual, making
from tests.releases.refusals import refusal
from tests.requesting import active, candidate, let_pass, open_request, person, read, soon, voted

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"actor": "user:ann"}
PLAN = gradual.plan(5, 50, tags=("canary",), bounds=Bounds(1, 2, 0.01))


def begun(approvals: int = 1) -> GradualActivation:
    """Return a gradual activation that an approved request started."""
    request = open_request(candidate(approvals), plan=PLAN)
    for _ in range(approvals):
        request = voted(request)
    found = operations.running(request.release.pipeline)
    assert found is not None
    return found


def require(approvals: int, release: Release) -> None:
    policy.change(release.pipeline, {"approvals": approvals}, actor="user:admin")


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
    acts = list(AuditEntry.objects.order_by("-sequence").values_list("act", flat=True)[:2])
    assert acts == ["gradual_activation.start", "activation_request.vote"]


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


# --- after the start ---


def test_steps_and_the_promotion_need_no_second_approval() -> None:
    made = begun(2)
    require(1, made.candidate)
    assert steps.move_on(made, **WHO).step == 1
    assert ending.promote(made, **WHO).status == "PROMOTED"
    assert active(made.candidate) == "2.0"


def test_steps_and_a_promotion_under_a_stricter_policy_need_approval() -> None:
    made = begun()
    require(2, made.candidate)
    for call in (steps.move_on, ending.promote):
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
