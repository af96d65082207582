"""Requests to activate a release over REST: votes, times, withdrawals and overrides."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from releases.activation import policy
from releases.activation.requests.carrying_out import carry_out_due
from releases.models import Activation, ActivationRequest, Release, Vote
from tenancy.access import issue_token
from tenancy.models import AuditEntry, Membership
from tenancy.roles import GRANTS, Role, Scope
from tests import making
from tests.api.tenant_api import TenantApi, everything, fields, refused
from tests.api.test_responses import conforms, document
from tests.requesting import let_pass, open_request, person, soon

__all__ = ["document"]
pytestmark = pytest.mark.django_db
PATH = "pipelines/{pipeline_id}/activation-requests"
ACTIVATIONS = "pipelines/{pipeline_id}/activations"
BODY = {"releaseVersion": "2.0", "reason": "faster"}
YES = {"decision": "approve", "round": 1}


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


def test_a_quorum_of_other_people_activates_the_release(
    ours: TenantApi, newer: Release, document: dict[str, Any]
) -> None:
    refused(ours.post(ACTIVATIONS, {"releaseVersion": "2.0"}), 409, "APPROVAL_REQUIRED")
    response = ours.post(PATH, BODY)
    made = conforms(document, "POST", PATH, response)
    assert (response.status_code, made["status"], made["round"], made["approvalsNeeded"]) == (201, "OPEN", 1, 2)
    assert (made["activeReleaseVersion"], made["actor"], made["policy"]["approvals"]) == ("1.0", "token:client-0", 2)
    votes = f"{PATH}/{made['requestId']}/votes"
    refused(ours.post(votes, YES), 403, "OWN_REQUEST")
    another = ours.token(Scope.ACTIVATE, Scope.READ)
    refused(ours.post(votes, YES, token=another), 403, "OWN_REQUEST")
    voter = person(ours.tenant)
    for name in ("first", "second"):  # two tokens of one person are one voter
        found = ours.post(votes, {**YES, "comment": "fine"}, token=token_of(ours, voter, name))
        assert (found.status_code, found.json()["status"]) == (200, "OPEN")
    done = conforms(document, "POST", f"{PATH}/{{request_id}}/votes", ours.post(votes, YES, token=token_of(ours)))
    assert (done["status"], done["activationSequence"]) == ("ACTIVATED", 2)
    assert (done["votes"][0]["actor"], done["votes"][0]["comment"]) == ("token:first", "fine")
    one = conforms(document, "GET", f"{PATH}/{{request_id}}", ours.get(f"{PATH}/{made['requestId']}"))
    assert one == done
    [newest, *_] = ours.get(ACTIVATIONS).json()["items"]
    assert newest["request"]["requestId"] == made["requestId"]
    assert newest["request"]["votes"] == done["votes"]
    assert (newest["releaseVersion"], newest["actor"], newest["override"]) == ("2.0", "token:client-0", False)
    history = ours.get("pipelines/{pipeline_id}/active").json()["activation"]
    assert history == newest


def test_a_vote_on_an_outdated_round_says_what_moved(ours: TenantApi, newer: Release) -> None:
    made = open_request(newer)
    policy.change(newer.pipeline, {"reasonRequired": True}, actor="user:eva")
    found = refused(ours.post(f"{PATH}/{made.pk}/votes", YES), 409, "REQUEST_RESTARTED")
    assert (found["round"], found["moved"]) == (2, [{"member": "reasonRequired", "before": False, "after": True}])
    shown = ours.get(f"{PATH}/{made.pk}").json()
    assert (shown["round"], shown["moved"], shown["votes"]) == (2, found["moved"], [])
    assert ours.post(f"{PATH}/{made.pk}/votes", {**YES, "round": 2}).json()["status"] == "OPEN"


def test_a_schedule_is_listed_withdrawn_and_carried_out(
    ours: TenantApi, newer: Release, document: dict[str, Any]
) -> None:
    policy.change(newer.pipeline, {"approvals": 0}, actor="user:eva")
    at = soon().isoformat()
    first, second = (ours.post(PATH, {**BODY, "activateAt": at, "operationKey": key}).json() for key in "ab")
    assert ours.post(PATH, {**BODY, "activateAt": at, "operationKey": "a"}).json() == first
    assert first["status"] == second["status"] == "APPROVED"
    blocked = ours.get("pipelines/{pipeline_id}/retirements?releaseVersion=2.0").json()["blockers"]
    assert [(each["kind"], each["count"]) for each in blocked] == [("SCHEDULE", 2)]
    listed = ours.call("GET", blocked[0]["href"])
    # The test is one transaction, so both have the same time and their order is that of their random ids.
    items = conforms(document, "GET", PATH, listed)["items"]
    assert {each["requestId"] for each in items} == {first["requestId"], second["requestId"]}
    withdrawal = f"{PATH}/{second['requestId']}/withdrawal"
    gone = conforms(document, "POST", f"{PATH}/{{request_id}}/withdrawal", ours.post(withdrawal, {"reason": "wrong"}))
    assert (gone["status"], gone["detail"], gone["endedBy"]) == ("WITHDRAWN", "wrong", "token:client-0")
    let_pass(ActivationRequest.objects.get(pk=first["requestId"]), 2)
    assert carry_out_due() == 1
    assert ours.get("pipelines/{pipeline_id}").json()["activeReleaseVersion"] == "2.0"
    refused(ours.post(f"{PATH}/{first['requestId']}/withdrawal", {"reason": "late"}), 409, "REQUEST_NOT_OPEN")
    assert [each["status"] for each in ours.get(f"{PATH}?status=ACTIVATED").json()["items"]] == ["ACTIVATED"]


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"releaseVersion": "2.0"}, 400, "INVALID_REQUEST", "reason"),
        ({**BODY, "reason": " "}, 400, "INVALID_REQUEST", "reason"),
        ({**BODY, "activateAt": "tomorrow"}, 400, "INVALID_REQUEST", "activateAt"),
        ({**BODY, "activateAt": "2001-01-01T00:00:00Z"}, 422, "ACTIVATION_TIME_INVALID", "activateAt"),
        ({**BODY, "activateAt": "2999-01-01T00:00:00Z"}, 422, "ACTIVATION_TIME_INVALID", "activateAt"),
        ({**BODY, "releaseVersion": "9.0"}, 404, "RELEASE_UNKNOWN", None),
        ({**BODY, "expectedReleaseVersion": "2.0"}, 409, "ACTIVE_RELEASE_CHANGED", None),
    ],
)
def test_a_rejected_request_changes_nothing(
    ours: TenantApi, newer: Release, body: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    assert ours.all_scopes
    before = everything()
    found = refused(ours.post(PATH, body), status, code)
    assert set(fields(found)) == ({field} if field else set())
    assert everything() == before


@pytest.mark.parametrize("role", list(Role))
def test_only_roles_that_activate_request_vote_and_withdraw(ours: TenantApi, newer: Release, role: Role) -> None:
    made, token = open_request(newer), ours.all_scopes
    Membership.objects.filter(user=ours.admin).update(role=role)
    for path, body, status in (
        (PATH, BODY, 201),
        (f"{PATH}/{made.pk}/votes", YES, 200),
        (f"{PATH}/{made.pk}/withdrawal", {"reason": "wrong"}, 200),
    ):
        before = everything()
        response = ours.post(path, body, token=token)
        if Scope.ACTIVATE in GRANTS[role]:
            assert response.status_code == status, response.content
        else:
            refused(response, 403, "SCOPE_MISSING")
            assert everything() == before
    assert ours.get(f"{PATH}/{made.pk}", token=token).status_code == 200


# --- overrides ---

EMERGENCY = {"releaseVersion": "2.0", "reason": "outage", "override": True}


def test_an_override_is_an_administrators_if_the_policy_allows_it(ours: TenantApi, newer: Release) -> None:
    manager = token_of(ours)
    refused(ours.post(ACTIVATIONS, EMERGENCY), 409, "OVERRIDE_NOT_ALLOWED")
    policy.change(newer.pipeline, {"emergencyOverride": True}, actor="user:eva")
    refused(ours.post(ACTIVATIONS, EMERGENCY, token=manager), 403, "SCOPE_MISSING")
    entry = AuditEntry.objects.latest("id")
    assert (entry.act, entry.outcome, entry.tenant) == ("release.activate", "denied", ours.tenant)
    refused(ours.post(ACTIVATIONS, {**EMERGENCY, "reason": ""}), 422, "REASON_REQUIRED")
    assert Activation.objects.count() == 1
    made = ours.post(ACTIVATIONS, EMERGENCY).json()
    assert (made["override"], made["request"], made["reason"]) == (True, None, "outage")
    assert not Vote.objects.exists()


def test_a_request_of_another_pipeline_is_unknown(ours: TenantApi, newer: Release) -> None:
    made = open_request(newer)
    making.registered(ours.tenant, pipeline_id="org.example.other")
    path = f"pipelines/org.example.other/activation-requests/{made.pk}"
    refused(ours.get(path), 404, "REQUEST_UNKNOWN")
    refused(ours.post(f"{path}/votes", YES), 404, "REQUEST_UNKNOWN")


PLAN = {
    "steps": [{"share": 5.0, "minimumSample": 20, "minimumMinutes": 0}],
    "groups": {"tags": ["canary"], "tokens": []},
    "bounds": {"failurePercentagePoints": 1.0, "durationFactor": 2.0, "significance": 0.01},
}


def test_a_quorum_starts_the_gradual_activation_that_was_requested(
    ours: TenantApi, newer: Release, document: dict[str, Any]
) -> None:
    start = "pipelines/{pipeline_id}/gradual-activations"
    refused(ours.post(start, {"releaseVersion": "2.0", **PLAN}), 409, "APPROVAL_REQUIRED")
    made = conforms(document, "POST", PATH, ours.post(PATH, {**BODY, "gradual": PLAN}))
    assert (made["status"], made["gradual"], made["gradualActivationId"]) == ("OPEN", PLAN, None)
    votes = f"{PATH}/{made['requestId']}/votes"
    for _ in range(2):
        done = ours.post(votes, YES, token=token_of(ours)).json()
    assert done["status"] == "ACTIVATED"
    running = ours.get(f"{start}/{done['gradualActivationId']}").json()
    assert (running["status"], running["candidateReleaseVersion"], running["step"]) == ("RUNNING", "2.0", 0)
    assert {name: running[name] for name in PLAN} == PLAN
    [newest, *_] = ours.get(ACTIVATIONS).json()["items"]
    assert (newest["kind"], newest["request"]["requestId"]) == ("gradual", made["requestId"])
    promotion = ours.post(f"{start}/{done['gradualActivationId']}/promotion", {})
    assert (promotion.status_code, promotion.json()["status"]) == (200, "PROMOTED")


def test_a_request_without_a_plan_shows_none(ours: TenantApi, newer: Release) -> None:
    made = ours.post(PATH, {**BODY, "gradual": None}).json()
    assert (made["gradual"], made["gradualActivationId"]) == (None, None)


@pytest.mark.parametrize(
    ("steps", "status", "code", "field"),
    [
        ([], 400, "INVALID_REQUEST", "gradual.steps"),
        ([{"share": 5}], 400, "INVALID_REQUEST", "gradual.steps.0.minimumSample"),
        ([*PLAN["steps"], *PLAN["steps"]], 422, "GRADUAL_ACTIVATION_INVALID", "gradual.steps"),
    ],
)
def test_a_wrong_plan_names_its_field(
    ours: TenantApi, newer: Release, steps: Any, status: int, code: str, field: str
) -> None:
    response = ours.post(PATH, {**BODY, "gradual": {"steps": steps}})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert field in {each["field"] for each in response.json()["errors"]}
    assert not ActivationRequest.objects.exists()


def test_a_start_takes_no_override(ours: TenantApi, newer: Release) -> None:
    policy.change(newer.pipeline, {"emergencyOverride": True}, actor="user:eva")
    body = {"releaseVersion": "2.0", "reason": "now", "override": True, **PLAN}
    response = ours.post("pipelines/{pipeline_id}/gradual-activations", body)
    assert [each["field"] for each in response.json()["errors"]] == ["override"]
