"""Requests to activate a release over REST: votes and overrides."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from releases.activation import policy
from releases.models import Activation, Release, Vote
from tenancy.access import issue_token
from tenancy.models import AuditEntry
from tenancy.roles import GRANTS, Role, Scope
from tests import making
from tests.api.tenant_api import TenantApi, fields, refused, unchanged
from tests.cases import cases
from tests.requesting import person

PIPELINE = "pipelines/{pipeline_id}"
PATH, ACTIVATIONS = f"{PIPELINE}/activation-requests", f"{PIPELINE}/activations"
BODY = {"releaseVersion": "2.0", "reason": "faster"}
YES = {"decision": "approve", "round": 1}
PLAN = {
    "steps": [{"share": 5.0, "minimumSample": 20, "minimumMinutes": 0}],
    "groups": {"tags": ["canary"], "tokens": []},
    "bounds": {"failurePercentagePoints": 1.0, "durationFactor": 2.0, "significance": 0.01},
}


@pytest.fixture
def newer(ours: TenantApi) -> Release:
    """A registered release of a pipeline whose policy needs two approvals."""
    release = making.registered(ours.tenant, "2.0")
    policy.change(release.pipeline, {"approvals": 2}, actor="user:eva")
    return release


def token_of(ours: TenantApi, user: User | None = None, name: str = "") -> str:
    """Return a token of a new release manager, or of `user`."""
    user = user or person(ours.tenant)
    _, plain = issue_token(
        ours.tenant, user, name or f"of-{user.username}", GRANTS[Role.RELEASE_MANAGER], lifetime=None
    )
    return plain


def test_a_quorum_of_other_people_activates_the_release(ours: TenantApi, newer: Release) -> None:
    refused(ours.post(ACTIVATIONS, {"releaseVersion": "2.0"}), 409, "APPROVAL_REQUIRED")
    made = ours.post(PATH, BODY).json()
    assert (made["status"], made["round"], made["approvalsNeeded"], made["gradual"]) == ("OPEN", 1, 2, None)
    assert (made["activeReleaseVersion"], made["actor"], made["policy"]["approvals"]) == ("1.0", "token:client-0", 2)
    votes = f"{PATH}/{made['requestId']}/votes"
    refused(ours.post(votes, YES), 403, "OWN_REQUEST")
    refused(ours.post(votes, YES, token=ours.token(Scope.ACTIVATE, Scope.READ)), 403, "OWN_REQUEST")
    voter = person(ours.tenant)
    for name in ("first", "second"):  # two tokens of one person are one voter
        found = ours.post(votes, {**YES, "comment": "fine"}, token=token_of(ours, voter, name))
        assert (found.status_code, found.json()["status"]) == (200, "OPEN")
    done = ours.post(votes, YES, token=token_of(ours)).json()
    assert (done["status"], done["activationSequence"]) == ("ACTIVATED", 2)
    assert (done["votes"][0]["actor"], done["votes"][0]["comment"]) == ("token:first", "fine")
    assert ours.get(f"{PATH}/{made['requestId']}").json() == done
    [newest, *_] = ours.get(ACTIVATIONS).json()["items"]
    assert (newest["request"]["requestId"], newest["request"]["votes"]) == (made["requestId"], done["votes"])
    assert (newest["releaseVersion"], newest["actor"], newest["override"]) == ("2.0", "token:client-0", False)
    assert ours.get(f"{PIPELINE}/active").json()["activation"] == newest


@cases(
    ("changes", "status", "code", "field"),
    [
        ({"activateAt": "tomorrow"}, 400, "INVALID_REQUEST", "activateAt"),
        ({"activateAt": "2001-01-01T00:00:00Z"}, 422, "ACTIVATION_TIME_INVALID", "activateAt"),
        ({"gradual": {"steps": [*PLAN["steps"], *PLAN["steps"]]}}, 422, "GRADUAL_ACTIVATION_INVALID", "gradual.steps"),
        ({"expectedReleaseVersion": "2.0"}, 409, "ACTIVE_RELEASE_CHANGED", None),
    ],
)
def test_a_rejected_request_changes_nothing(
    ours: TenantApi, newer: Release, changes: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    with unchanged():
        found = refused(ours.post(PATH, {**BODY, **changes}), status, code)
    assert field is None or set(fields(found)) == {field}


def test_an_override_is_an_administrators_if_the_policy_allows_it(ours: TenantApi, newer: Release) -> None:
    emergency = {"releaseVersion": "2.0", "reason": "outage", "override": True}
    manager = token_of(ours)
    refused(ours.post(ACTIVATIONS, emergency), 409, "OVERRIDE_NOT_ALLOWED")
    policy.change(newer.pipeline, {"emergencyOverride": True}, actor="user:eva")
    refused(ours.post(ACTIVATIONS, emergency, token=manager), 403, "SCOPE_MISSING")
    entry = AuditEntry.objects.latest("id")
    assert (entry.act, entry.outcome, entry.tenant) == ("release.activate", "denied", ours.tenant)
    refused(ours.post(ACTIVATIONS, {**emergency, "reason": ""}), 422, "REASON_REQUIRED")
    assert Activation.objects.count() == 1
    made = ours.post(ACTIVATIONS, emergency).json()
    assert (made["override"], made["request"], made["reason"]) == (True, None, "outage")
    assert not Vote.objects.exists()
