"""Submissions during a gradual activation: which release each gets, with cached admissions and without."""

from typing import Any

import pytest

from executions.holds import holds
from executions.models import Execution
from executions.submission import admission
from foundation.errors import CoordinatorError
from releases.activation.gradual import ending, steps
from releases.activation.gradual.routing import Routing
from releases.activation.gradual.start import start
from releases.activation.revocation import revoke
from releases.models import GradualActivation, Pipeline
from tenancy.models import Tenant
from tests import gradual, making
from tests.gradual import send

pytestmark = pytest.mark.django_db
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "because"}
KEYS = [f"order-{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def warm(owner: Tenant, settings: Any) -> None:
    """Cache the admission of the pipeline. It does not expire during a test."""
    settings.SUBMISSION_CACHE_SECONDS = 3600
    send(owner, "warm")


def versions(owner: Tenant, *keys: str, **members: Any) -> list[str]:
    """Submit an execution for each key, and return the release that each is pinned to in the database."""
    made = [send(owner, key, **members) for key in keys]
    found = dict(Execution.objects.values_list("pk", "release__release_version"))
    assert all(found[each.execution_id] == each.release_version for each in made)
    return [each.release_version for each in made]


def expected(made: GradualActivation, share: int, *keys: str) -> list[str]:
    routing = Routing(str(made.pk), share * 100)
    return ["2.0" if routing.takes(key) else "1.0" for key in keys]


def refusal(owner: Tenant, key: str = "refused", **members: Any) -> str:
    with pytest.raises(CoordinatorError) as caught:
        send(owner, key, **members)
    return caught.value.code


@pytest.fixture
def all_to_candidate(owner: Tenant, warm: None) -> GradualActivation:
    """A gradual activation whose candidate 2.0 gets all executions, and has got one."""
    made = gradual.started(owner, 100)
    assert versions(owner, "first") == ["2.0"]
    return made


def test_each_key_gets_the_release_that_the_routing_says(owner: Tenant) -> None:
    made = gradual.started(owner, 30, 70)
    assert versions(owner, *KEYS) == expected(made, 30, *KEYS)
    assert len(set(expected(made, 30, *KEYS))) == 2
    steps.move_on(made, actor="user:ann")
    for customer in KEYS[:4]:
        found = versions(owner, f"a-{customer}", f"b-{customer}", routing_key=customer)
        assert found == expected(made, 70, customer) * 2
    later = [f"later-{key}" for key in KEYS]
    assert versions(owner, *later) == expected(made, 70, *later)
    assert versions(owner, *KEYS) == expected(made, 30, *KEYS), "a repeated key returns its execution"


def test_groups_get_the_candidate(owner: Tenant) -> None:
    start(gradual.candidate(owner), gradual.plan(0, tags=("beta",), tokens=("ci",)), actor="user:ann")
    made = send(owner, "a", tags=["x", "beta"])
    assert made.release_version == "2.0"
    assert send(owner, "b", actor="token:ci").release_version == "2.0"
    assert send(owner, "c", tags=["x"], actor="user:ci").release_version == "1.0"
    assert made.tags == made.execution.tags == ["x", "beta"]
    assert send(owner, "a", tags=["other"]).tags == ["x", "beta"]
    assert send(owner, "d").execution.tags is None


def test_the_next_submission_after_a_withdrawal_gets_the_active_release(
    owner: Tenant, all_to_candidate: GradualActivation
) -> None:
    ending.withdraw(all_to_candidate, **WHY)
    known = admission.cached(owner, making.PIPELINE)
    assert known is not None
    assert known.candidate is not None, "the cached admission still names the candidate"
    assert versions(owner, "b") == ["1.0"]


def test_the_next_submission_after_a_promotion_gets_the_candidate(owner: Tenant) -> None:
    made = gradual.started(owner, 0.01)
    assert versions(owner, "a") == ["1.0"]
    ending.promote(made, actor="user:ann")
    assert versions(owner, "b") == ["2.0"]
    assert versions(owner, "c", expected_release_version="2.0") == ["2.0"]


def test_a_revoked_baseline_refuses_submissions_although_a_candidate_exists(
    owner: Tenant, all_to_candidate: GradualActivation
) -> None:
    assert versions(owner, "expects", expected_release_version="1.0") == ["1.0"]
    revoke(all_to_candidate.baseline, **WHY)
    assert refusal(owner) == "ACTIVE_RELEASE_REVOKED"


def test_executions_of_a_candidate_without_a_worker_get_the_active_release(owner: Tenant) -> None:
    start(making.registered(owner, "2.0"), gradual.plan(100), actor="user:ann")
    assert set(versions(owner, *KEYS[:3])) == {"1.0"}


def test_a_paused_pipeline_or_active_release_refuses_the_executions_of_its_candidate(
    owner: Tenant, all_to_candidate: GradualActivation
) -> None:
    for paused in (Pipeline.objects.get(pk=all_to_candidate.pipeline_id), all_to_candidate.baseline):
        holds.pause(paused, **WHY, refuses_submissions=True)
        assert refusal(owner) == "PIPELINE_PAUSED"
        admission.cache.clear()
        assert refusal(owner) == "PIPELINE_PAUSED"
        if paused == all_to_candidate.baseline:
            assert versions(owner, "named", release_version="2.0") == ["2.0"]
        holds.resume(paused, actor="user:ann", reason="")
        assert versions(owner, f"after {paused}") == ["2.0"]
