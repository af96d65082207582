"""REST of revocations: permissions, responses and effects."""

from typing import Any

import pytest

from releases.models import Release, Revocation
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
PATH = f"pipelines/{making.PIPELINE}/revocations"
BODY = {"releaseVersion": "1.0", "reason": "leaked"}


@pytest.fixture(autouse=True)
def static_root(settings: Any) -> None:
    settings.STATIC_ROOT.mkdir(exist_ok=True)


@pytest.fixture
def release() -> Release:
    return making.active(making.tenant())


def test_a_revocation_returns_the_event_and_the_release_shows_it(release: Release) -> None:
    caller = Caller(release.pipeline.tenant, Scope.ACTIVATE, Scope.READ)
    made = caller.call("POST", PATH, BODY, status=201)
    assert (made["releaseVersion"], made["actor"], made["reason"]) == ("1.0", f"token:{caller.token}", "leaked")
    shown = caller.get(f"pipelines/{making.PIPELINE}/releases/1.0")
    assert (shown["status"], shown["revocation"]) == ("REVOKED", made)
    assert caller.call("POST", PATH, {**BODY, "reason": "again"}, status=201) == made
    refused = caller.call("POST", f"pipelines/{making.PIPELINE}/activations", {"releaseVersion": "1.0"}, status=409)
    assert refused["code"] == "RELEASE_NOT_REGISTERED"


def test_the_order_pause_pauses_the_release(release: Release) -> None:
    caller = Caller(release.pipeline.tenant, Scope.ACTIVATE, Scope.READ)
    made = caller.call("POST", PATH, {**BODY, "openExecutions": "pause"}, status=201)
    assert (made["openExecutions"], made["failedExecutions"], made["completedAt"]) == ("pause", 0, None)
    paused = caller.get(f"pipelines/{making.PIPELINE}/releases/1.0")["paused"]
    assert (paused["by"], paused["reason"]) == (f"token:{caller.token}", "leaked")
    caller.call("POST", f"pipelines/{making.PIPELINE}/resume", {"releaseVersion": "1.0"})
    assert caller.get(f"pipelines/{making.PIPELINE}/releases/1.0")["paused"] is None


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ACTIVATE])
def test_no_other_scope_permits_a_revocation(release: Release, scope: Scope) -> None:
    caller = Caller(release.pipeline.tenant, scope)
    before = rows(Release)
    assert caller.call("POST", PATH, BODY, status=403)["code"] == "SCOPE_MISSING"
    assert (rows(Release), rows(Revocation)) == (before, [])


def test_a_release_of_another_tenant_cannot_be_revoked(release: Release) -> None:
    caller = Caller(making.tenant(), Scope.ACTIVATE)
    assert caller.call("POST", PATH, BODY, status=404)["code"] == "PIPELINE_UNKNOWN"
    assert rows(Revocation) == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"releaseVersion": "1.0"}, 400, "INVALID_REQUEST"),
        ({**BODY, "reason": ""}, 400, "INVALID_REQUEST"),
        ({**BODY, "reason": "x" * 1001}, 400, "INVALID_REQUEST"),
        ({**BODY, "more": 1}, 400, "INVALID_REQUEST"),
        ({**BODY, "openExecutions": "stop"}, 400, "INVALID_REQUEST"),
        ({**BODY, "releaseVersion": "9.9"}, 404, "RELEASE_UNKNOWN"),
        (b"{", 400, "INVALID_REQUEST"),
    ],
)
def test_an_invalid_revocation_changes_nothing(release: Release, body: Any, status: int, code: str) -> None:
    caller = Caller(release.pipeline.tenant, Scope.ACTIVATE)
    assert caller.call("POST", PATH, body, status=status)["code"] == code
    assert rows(Revocation) == []
