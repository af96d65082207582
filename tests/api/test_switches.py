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


@pytest.fixture(scope="module")
def release(owner: Tenant, ready: tuple[Tenant, Release]) -> Release:
    making.worker(making.active(owner, "2.0"), "worker-2")
    return ready[1]


@pytest.fixture(scope="module")
def caller(owner: Tenant) -> Caller:
    return Caller(owner, *Scope)


def test_a_token_that_may_only_roll_back_reaches_the_releases_of_the_last_days(owner: Tenant, release: Release) -> None:
    on_call = Caller(owner, Scope.ROLL_BACK)
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '31 days'")
    with unchanged(Release, Activation):
        found = on_call.post(ROLLBACK, WHY, 403)
    assert (found["code"], found["rollBackDays"]) == ("ROLLBACK_TOO_FAR", 30)
    Caller(owner, Scope.ROLL_BACK, Scope.ACTIVATE).post(ROLLBACK, WHY, 201)
    on_call.post(ROLLBACK, {**WHY, "releaseVersion": "2.0"}, 201)
