"""Rollbacks over REST: who may make them, and what the responses say."""

from typing import Any

import pytest

from releases.activation.activation import activate
from releases.models import Activation, Release
from tenancy.models import Membership
from tenancy.roles import GRANTS, Role, Scope
from tests import making
from tests.api.tenant_api import TenantApi, everything, refused
from tests.api.test_responses import conforms, document
from tests.raw_sql import run, unguarded

__all__ = ["document"]
pytestmark = pytest.mark.django_db
PATH = "pipelines/{pipeline_id}/rollback"
WHY = {"reason": "it fails"}


@pytest.fixture
def second(ours: TenantApi) -> Release:
    """The active release, which replaced 1.0."""
    release = making.registered(ours.tenant, "2.0")
    activate(release, actor="user:ann")
    return release


def test_a_rollback_in_one_step_returns_the_activation(
    ours: TenantApi, second: Release, document: dict[str, Any]
) -> None:
    response = ours.post(PATH, WHY)
    made = conforms(document, "POST", PATH, response)
    assert response.status_code == 201
    assert (made["releaseVersion"], made["previousReleaseVersion"], made["sequence"]) == ("1.0", "2.0", 3)
    assert (made["kind"], made["rollback"], made["reason"], made["actor"]) == (
        *("rollback", True, "it fails"),
        "token:client-0",
    )
    assert made["warnings"] == []
    [newest, *_] = ours.get("pipelines/{pipeline_id}/activations").json()["items"]
    assert {**newest, "warnings": []} == made
    assert ours.get("pipelines/{pipeline_id}").json()["activeReleaseVersion"] == "1.0"


def test_the_response_warns_if_no_worker_hosts_the_release(ours: TenantApi, second: Release) -> None:
    ours.post(PATH, WHY)
    made = ours.post(
        PATH, {**WHY, "releaseVersion": "2.0", "expectedReleaseVersion": "1.0", "operationKey": "k"}
    ).json()
    [warning] = made["warnings"]
    assert warning.startswith("No healthy worker hosts it")
    again = ours.post(PATH, {**WHY, "releaseVersion": "2.0", "expectedReleaseVersion": "1.0", "operationKey": "k"})
    assert again.json() == made


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "INVALID_REQUEST"),
        ({"reason": " "}, 400, "INVALID_REQUEST"),
        ({"reason": "x" * 1001}, 400, "INVALID_REQUEST"),
        ({**WHY, "force": True}, 400, "INVALID_REQUEST"),
        ({**WHY, "releaseVersion": "9.0"}, 404, "RELEASE_UNKNOWN"),
        ({**WHY, "releaseVersion": "2.0"}, 409, "NO_ROLLBACK"),
        ({**WHY, "releaseVersion": "3.0"}, 409, "NO_ROLLBACK"),
        ({**WHY, "expectedReleaseVersion": "1.0"}, 409, "ACTIVE_RELEASE_CHANGED"),
    ],
)
def test_a_rejected_rollback_changes_nothing(
    ours: TenantApi, second: Release, body: dict[str, Any], status: int, code: str
) -> None:
    making.registered(ours.tenant, "3.0")
    assert ours.all_scopes
    before = everything()
    refused(ours.post(PATH, body), status, code)
    assert everything() == before


ACTS: list[tuple[str, dict[str, Any], Scope]] = [
    (PATH, WHY, Scope.ROLL_BACK),
    (PATH, {**WHY, "releaseVersion": "1.0"}, Scope.ROLL_BACK),
    ("pipelines/{pipeline_id}/activations", {**WHY, "releaseVersion": "1.0"}, Scope.ACTIVATE),
    ("pipelines/{pipeline_id}/activations", {**WHY, "releaseVersion": "3.0"}, Scope.ACTIVATE),
    ("pipelines/{pipeline_id}/revocations", {**WHY, "releaseVersion": "1.0"}, Scope.ACTIVATE),
]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(("path", "body", "scope"), ACTS)
def test_each_role_makes_only_the_acts_that_it_grants(
    ours: TenantApi, second: Release, path: str, body: dict[str, Any], scope: Scope, role: Role
) -> None:
    making.registered(ours.tenant, "3.0")
    token = ours.all_scopes
    Membership.objects.filter(user=ours.admin).update(role=role)
    before = everything()
    response = ours.post(path, body, token=token)
    if scope in GRANTS[role]:
        assert response.status_code == 201
    else:
        refused(response, 403, "SCOPE_MISSING")
    assert (everything() != before) is (scope in GRANTS[role])


def test_a_token_that_may_only_roll_back_reaches_the_releases_of_the_last_days(
    ours: TenantApi, second: Release
) -> None:
    token = ours.token(Scope.ROLL_BACK)
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '31 days'")
    found = refused(ours.post(PATH, WHY, token=token), 403, "ROLLBACK_TOO_FAR")
    assert found["rollBackDays"] == 30
    assert Activation.objects.filter(pipeline=second.pipeline).count() == 2
    assert ours.post(PATH, WHY, token=ours.token(Scope.ROLL_BACK, Scope.ACTIVATE)).status_code == 201
    assert ours.post(PATH, {**WHY, "releaseVersion": "2.0"}, token=token).status_code == 201
