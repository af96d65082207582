import pytest

from releases.models import Activation, Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import run, unchanged, unguarded

PIPELINE = f"pipelines/{making.PIPELINE}"
REVOCATIONS, ROLLBACK = f"{PIPELINE}/revocations", f"{PIPELINE}/rollback"
WHY = {"reason": "it fails"}
FIRST = {"releaseVersion": "1.0", **WHY}


@pytest.fixture(scope="module")
def release(owner: Tenant, ready: tuple[Tenant, Release]) -> Release:
    making.worker(making.active(owner, "2.0"), "worker-2")
    return ready[1]


@pytest.fixture(scope="module")
def caller(owner: Tenant) -> Caller:
    return Caller(owner, *Scope)


def test_a_revocation_is_permanent_and_the_release_shows_it(caller: Caller, release: Release) -> None:
    made = caller.post(REVOCATIONS, FIRST, 201)
    assert (made["releaseVersion"], made["actor"], made["reason"]) == ("1.0", f"token:{caller.token}", "it fails")
    shown = caller.get(f"{PIPELINE}/releases/1.0")
    assert (shown["status"], shown["revocation"], shown["paused"]) == ("REVOKED", made, None)
    assert caller.post(REVOCATIONS, {**FIRST, "reason": "again"}, 201) == made
    assert caller.post(f"{PIPELINE}/activations", {"releaseVersion": "1.0"}, 409)["code"] == "RELEASE_NOT_REGISTERED"


def test_a_rollback_in_one_step_returns_the_activation(caller: Caller, release: Release) -> None:
    with unchanged(Release, Activation):
        refused = caller.post(ROLLBACK, {**WHY, "expectedReleaseVersion": "1.0"}, 409)
    assert refused["code"] == "ACTIVE_RELEASE_CHANGED"
    made = caller.post(ROLLBACK, WHY, 201)
    assert (made["releaseVersion"], made["previousReleaseVersion"], made["sequence"]) == ("1.0", "2.0", 3)
    assert (made["kind"], made["rollback"], made["reason"]) == ("rollback", True, "it fails")
    assert (made["actor"], made["warnings"]) == (f"token:{caller.token}", [])
    [newest, *_] = caller.get(f"{PIPELINE}/activations")["items"]
    assert {**newest, "warnings": []} == made
    assert caller.get(PIPELINE)["activeReleaseVersion"] == "1.0"


def test_a_token_that_may_only_roll_back_reaches_the_releases_of_the_last_days(owner: Tenant, release: Release) -> None:
    on_call = Caller(owner, Scope.ROLL_BACK)
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '31 days'")
    with unchanged(Release, Activation):
        found = on_call.post(ROLLBACK, WHY, 403)
    assert (found["code"], found["rollBackDays"]) == ("ROLLBACK_TOO_FAR", 30)
    Caller(owner, Scope.ROLL_BACK, Scope.ACTIVATE).post(ROLLBACK, WHY, 201)
    on_call.post(ROLLBACK, {**WHY, "releaseVersion": "2.0"}, 201)
