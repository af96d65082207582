"""A cached admission never admits what the tables do not, also while a candidate gets a share of the submissions."""

from typing import Any

import pytest

from executions.holds import holds
from executions.models import Execution, Worker
from executions.submission import admission
from foundation.errors import CoordinatorError
from governance.activation.activation import activate
from governance.gradual import changes
from governance.gradual.changes import start
from governance.retirement.retirement import revoke
from releases.models import GradualActivation, Pipeline, Release
from releases.pointer import Routing
from tenancy.models import Tenant
from tests import gradual, making
from tests.clock import Clock
from tests.executions.submission.continuing import order
from tests.making import PIPELINE
from tests.raw_sql import raised

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture
def warm(owner: Tenant, settings: Any) -> None:
    """Cache the admission of the pipeline. It does not expire during a test."""
    settings.SUBMISSION_CACHE_SECONDS = 3600
    making.submitted(owner, "warm")
    assert admission.cached(owner, PIPELINE) is not None


def refusal(owner: Tenant, key: str = "next", **members: Any) -> tuple[str, int]:
    caught = raised(CoordinatorError, making.submitted, owner, key, **members)
    return caught.code, caught.status


def test_the_next_submissions_use_a_new_activation(owner: Tenant) -> None:
    assert refusal(owner, expected_release_version="2.0") == ("ACTIVE_RELEASE_CHANGED", 409)
    newer = gradual.candidate(owner, "2.0")
    activate(newer, actor="user:test")
    made = making.submitted(owner, "next", expected_release_version="2.0")
    assert (made.release_version, made.execution.release_id) == ("2.0", newer.pk)
    activate(newer, actor="user:test")
    assert making.submitted(owner, "after the same activation again").release_version == "2.0"


def test_a_revocation_applies_to_the_next_submission_and_a_repeated_key_is_found(owner: Tenant) -> None:
    revoke(Release.objects.get(), actor="user:test", reason="leaked")
    assert refusal(owner) == ("ACTIVE_RELEASE_REVOKED", 409)
    assert making.submitted(owner, "warm").duplicate is True
    assert refusal(owner, key="warm", input={"n": 2})[0] == "IDEMPOTENCY_KEY_REUSED"


def test_a_cached_admission_applies_to_one_tenant_only(owner: Tenant) -> None:
    other, release = making.ready()
    assert making.execution(other, "new").release == release
    making.silence(*Worker.objects.filter(tenant=other))
    admission.cache.clear()
    making.submitted(owner, "warm again")
    assert refusal(other)[0] == "WORKER_UNAVAILABLE"


def test_a_cached_admission_expires_for_all(owner: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kept = Clock(monkeypatch), admission.cached(owner, PIPELINE)
    clock.ahead += 0.6 * settings.SUBMISSION_CACHE_SECONDS
    assert [admission.cached(owner, PIPELINE) for _ in range(3)] == [None, kept, kept]
    clock.ahead += 0.5 * settings.SUBMISSION_CACHE_SECONDS
    assert [admission.cached(owner, PIPELINE) for _ in range(2)] == [None, None]


def test_an_unready_pipeline_is_refused_once_the_admission_expires_and_not_cached(owner: Tenant, settings: Any) -> None:
    making.silence(*Worker.objects.all())
    assert making.submitted(owner, "still remembered").duplicate is False
    admission.cache.clear()
    assert refusal(owner)[0] == "WORKER_UNAVAILABLE"
    assert admission.cached(owner, PIPELINE) is None


def test_the_next_submission_follows_the_contract_of_a_new_activation(owner: Tenant, release: Release) -> None:
    steps = [{**making.STEP, "cardinality": "MANY_TO_MANY"}]
    newer = gradual.candidate(owner, "2.0", schemaVersion=2, canonicalTypes=order("n"), steps=steps)
    activate(newer, actor="user:test")
    for wrong in ({"n": 1}, [{"n": "x"}]):
        assert refusal(owner, input=wrong)[0] == "INPUT_INVALID"
    many = making.execution(owner, "many", [{"n": 1}])
    assert (many.input_shape, many.result_shape) == ("MULTI", "MATERIALIZED_MULTI")
    activate(release, actor="user:test", reason="back")
    execution = making.execution(owner, "one", {"n": "x"})
    assert (execution.input_shape, execution.result_shape, execution.release) == ("UNI", "SINGLE", release)


WHY: dict[str, Any] = {"actor": "user:ann", "reason": "because"}
KEYS = [f"order-{number}" for number in range(40)]


def versions(owner: Tenant, *keys: str, **members: Any) -> list[str]:
    """Submit an execution for each key, and return the release that each is pinned to in the database."""
    made = [making.submitted(owner, key, **members) for key in keys]
    pins = dict(Execution.objects.values_list("pk", "release__release_version"))
    assert all(pins[submission.execution_id] == submission.release_version for submission in made)
    return [submission.release_version for submission in made]


def expected(made: GradualActivation, share: int, *keys: str) -> list[str]:
    routing = Routing(str(made.pk), share * 100)
    return ["2.0" if routing.takes(key) else "1.0" for key in keys]


@pytest.fixture
def all_to_candidate(owner: Tenant, warm: None) -> GradualActivation:
    made = gradual.started(owner, 100)
    assert versions(owner, "first") == ["2.0"]
    return made


def test_each_key_gets_the_release_that_the_routing_says(owner: Tenant) -> None:
    made = gradual.started(owner, 30, 70)
    assert versions(owner, *KEYS) == expected(made, 30, *KEYS)
    assert len(set(expected(made, 30, *KEYS))) == 2
    changes.move_on(made, actor="user:ann")
    for customer in KEYS[:4]:
        pins = versions(owner, f"a-{customer}", f"b-{customer}", routing_key=customer)
        assert pins == expected(made, 70, customer) * 2
    later = [f"later-{key}" for key in KEYS]
    assert versions(owner, *later) == expected(made, 70, *later)
    assert versions(owner, *KEYS) == expected(made, 30, *KEYS), "a repeated key returns its execution"


def test_a_withdrawal_returns_submissions_to_the_active_one(owner: Tenant, all_to_candidate: GradualActivation) -> None:
    changes.withdraw(all_to_candidate, **WHY)
    known = admission.cached(owner, making.PIPELINE)
    assert known is not None
    assert known.candidate, "the cached admission still names the candidate"
    assert versions(owner, "b") == ["1.0"]


def test_a_revoked_baseline_refuses_despite_a_candidate(owner: Tenant, all_to_candidate: GradualActivation) -> None:
    assert versions(owner, "expects", expected_release_version="1.0") == ["1.0"]
    revoke(all_to_candidate.baseline, **WHY)
    assert refusal(owner)[0] == "ACTIVE_RELEASE_REVOKED"


def test_executions_of_a_candidate_without_a_worker_get_the_active_release(owner: Tenant) -> None:
    start(making.registered(owner, "2.0"), gradual.plan(100), actor="user:ann")
    assert set(versions(owner, *KEYS[:3])) == {"1.0"}


def test_a_pause_refuses_the_executions_of_the_candidate(owner: Tenant, all_to_candidate: GradualActivation) -> None:
    for paused in (Pipeline.objects.get(pk=all_to_candidate.pipeline_id), all_to_candidate.baseline):
        holds.pause(paused, **WHY, refuses_submissions=True)
        assert refusal(owner)[0] == "PIPELINE_PAUSED"
        admission.cache.clear()
        assert refusal(owner)[0] == "PIPELINE_PAUSED"
        if paused == all_to_candidate.baseline:
            assert versions(owner, "named", release_version="2.0") == ["2.0"]
        holds.resume(paused, actor="user:ann", reason="")
        assert versions(owner, f"after {paused}") == ["2.0"]
