"""Submissions during a gradual activation: which release each gets, with cached admissions and without."""

from collections import Counter
from typing import Any

import pytest

from executions.holds import holds
from executions.models import Execution
from executions.submission import admission
from executions.submission.resubmission import resubmit
from executions.submission.submission import ExecutionRequest, Submission, submit_many
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


@pytest.fixture(autouse=True)
def long_memory(settings: Any) -> None:
    """Cached admissions do not expire during a test."""
    settings.SUBMISSION_CACHE_SECONDS = 3600


@pytest.fixture
def owner() -> Tenant:
    made, _ = making.ready()
    send(made, "warm")
    return made


def versions(owner: Tenant, *keys: str, **members: Any) -> list[str]:
    """Submit an execution for each key, and return the release that each is pinned to in the database."""
    made = [send(owner, key, **members) for key in keys]
    found = dict(Execution.objects.values_list("pk", "release__release_version"))
    assert all(found[each.execution_id] == each.release_version for each in made)
    return [each.release_version for each in made]


def expected(made: GradualActivation, share: int, *keys: str) -> list[str]:
    routing = Routing(str(made.pk), share * 100)
    return ["2.0" if routing.takes(key) else "1.0" for key in keys]


KEYS = [f"order-{number}" for number in range(40)]


def test_each_key_gets_the_release_that_the_routing_says(owner: Tenant) -> None:
    made = gradual.started(owner, 30, 70)
    assert versions(owner, *KEYS) == expected(made, 30, *KEYS)
    assert len(set(expected(made, 30, *KEYS))) == 2
    steps.move_on(made, actor="user:ann")
    later = [f"later-{key}" for key in KEYS]
    assert versions(owner, *later) == expected(made, 70, *later)


def test_a_repeated_key_returns_its_execution_whatever_the_routing_says(owner: Tenant) -> None:
    made = gradual.started(owner, 0.01, 100)
    [before] = versions(owner, "order")
    steps.move_on(made, actor="user:ann")
    assert versions(owner, "order") == [before] == ["1.0"]
    assert versions(owner, "new") == ["2.0"]


def test_equal_routing_keys_get_the_same_release(owner: Tenant) -> None:
    made = gradual.started(owner, 50)
    for customer in KEYS[:8]:
        found = versions(owner, *(f"{customer}-{number}" for number in range(5)), routing_key=customer)
        assert found == expected(made, 50, customer) * 5


def test_groups_get_the_candidate(owner: Tenant) -> None:
    start(gradual.candidate(owner), gradual.plan(0, tags=("beta",), tokens=("ci",)), actor="user:ann")
    assert send(owner, "a", tags=["x", "beta"]).release_version == "2.0"
    assert send(owner, "b", actor="token:ci").release_version == "2.0"
    assert send(owner, "c", tags=["x"], actor="user:ci").release_version == "1.0"


def test_tags_are_stored(owner: Tenant) -> None:
    made = send(owner, "a", tags=["x", "beta"])
    assert made.tags == made.execution.tags == ["x", "beta"]
    assert send(owner, "a", tags=["other"]).tags == ["x", "beta"]
    assert send(owner, "b").execution.tags is None


def test_a_batch_routes_each_item(owner: Tenant) -> None:
    made = gradual.started(owner, 50)
    requests = [ExecutionRequest(making.PIPELINE, {"n": 1}, key) for key in KEYS]
    for _ in range(2):
        verdicts = submit_many(owner, requests, actor="token:test")
        found = [each.release_version for each in verdicts if isinstance(each, Submission)]
        assert found == expected(made, 50, *KEYS)


def test_a_submission_that_expects_a_release_gets_the_active_one(owner: Tenant) -> None:
    gradual.started(owner, 100)
    assert versions(owner, "a", expected_release_version="1.0") == ["1.0"]
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "b", expected_release_version="2.0")
    assert caught.value.code == "ACTIVE_RELEASE_CHANGED"


def test_a_resubmission_gets_the_active_release_and_the_tags(owner: Tenant) -> None:
    made = gradual.started(owner, 100)
    [failed] = gradual.ended(made.candidate, failed=1, tags=["beta"])
    again = resubmit(owner, failed.pk, **WHY)
    assert (again.release_version, again.tags) == ("1.0", ["beta"])


def test_the_next_submission_after_a_withdrawal_gets_the_active_release(owner: Tenant) -> None:
    made = gradual.started(owner, 100)
    assert versions(owner, "a") == ["2.0"]
    ending.withdraw(made, **WHY)
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


def test_the_next_submission_after_a_revocation_does_not_get_a_revoked_release(owner: Tenant) -> None:
    made = gradual.started(owner, 100)
    assert versions(owner, "a") == ["2.0"]
    revoke(made.candidate, **WHY)
    assert versions(owner, "b") == ["1.0"]


def test_a_revoked_baseline_refuses_submissions_although_a_candidate_exists(owner: Tenant) -> None:
    made = gradual.started(owner, 100)
    assert versions(owner, "a") == ["2.0"]
    revoke(made.baseline, **WHY)
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "b")
    assert caught.value.code == "ACTIVE_RELEASE_REVOKED"


def test_executions_of_a_candidate_without_a_worker_get_the_active_release(owner: Tenant) -> None:
    start(making.registered(owner, "2.0"), gradual.plan(100), actor="user:ann")
    assert set(versions(owner, *KEYS[:3])) == {"1.0"}


def test_executions_of_a_candidate_whose_bytes_are_missing_get_the_active_release(owner: Tenant) -> None:
    made = gradual.started(owner, 100)
    making.stored_file(made.candidate.artifacts.get().digest).unlink()
    assert set(versions(owner, *KEYS[:3])) == {"1.0"}


def test_executions_of_a_paused_candidate_get_the_active_release(owner: Tenant) -> None:
    made = gradual.started(owner, 100)
    assert versions(owner, "a") == ["2.0"]
    holds.pause(made.candidate, **WHY, refuses_submissions=True)
    assert versions(owner, "b") == ["1.0"]
    admission.cache.clear()
    assert versions(owner, "c") == ["1.0"]
    holds.resume(made.candidate, actor="user:ann", reason="")
    admission.cache.clear()
    assert versions(owner, "d") == ["2.0"]


def test_a_paused_pipeline_refuses_the_executions_of_its_candidate(owner: Tenant) -> None:
    made = gradual.started(owner, 100)
    assert versions(owner, "a") == ["2.0"]
    holds.pause(Pipeline.objects.get(pk=made.pipeline_id), **WHY, refuses_submissions=True)
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "b")
    assert caught.value.code == "PIPELINE_PAUSED"


def test_a_paused_active_release_refuses_the_executions_of_its_candidate(owner: Tenant) -> None:
    """Whether a process has a cached admission or not."""
    made = gradual.started(owner, 100)
    assert versions(owner, "before") == ["2.0"]
    holds.pause(made.baseline, **WHY, refuses_submissions=True)
    for key in ("cached", "new"):
        with pytest.raises(CoordinatorError) as caught:
            send(owner, key)
        assert caught.value.code == "PIPELINE_PAUSED"
        admission.cache.clear()
    assert versions(owner, "named", release_version="2.0") == ["2.0"]


def test_the_input_has_the_type_of_the_release_that_it_gets(owner: Tenant) -> None:
    stricter = making.STEP | {"cardinality": "MANY_TO_ONE"}
    new = gradual.candidate(owner, steps=[stricter])
    start(new, gradual.plan(50), actor="user:ann")
    found: Counter[str] = Counter()
    for key in KEYS:
        try:
            found[send(owner, key).release_version] += 1
        except CoordinatorError as error:
            found[error.code] += 1
    assert set(found) == {"1.0", "INPUT_INVALID"}


def test_only_the_active_release_and_the_candidate_get_submissions(owner: Tenant) -> None:
    """The trigger rejects an admission to another release, even if it names the newest activation."""
    gradual.started(owner, 50)
    other = gradual.candidate(owner, "3.0")
    known = admission.current(owner, making.PIPELINE)
    assert known.candidate is not None
    forged = admission.Admission(other, known.activation)
    admission.cache.set((owner.pk, making.PIPELINE), forged)
    assert set(versions(owner, *KEYS[:5])) <= {"1.0", "2.0"}


def test_the_contract_of_a_candidate_is_not_parsed_again(owner: Tenant) -> None:
    gradual.started(owner, 50)
    versions(owner, *KEYS[:10])
    known, fresh = admission.cached(owner, making.PIPELINE), admission.current(owner, making.PIPELINE)
    assert known is not None
    assert known.candidate is not None
    assert fresh.candidate is not None
    assert fresh.contract is known.contract
    assert fresh.candidate.admission.contract is known.candidate.admission.contract
    assert fresh.candidate.admission.contract is not fresh.contract
