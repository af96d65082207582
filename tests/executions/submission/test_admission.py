"""A cached admission never admits what the tables do not. Each test fills the cache first."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions.models import Execution, Worker
from executions.submission import admission
from executions.submission.submission import Submission, submit
from foundation.errors import CoordinatorError
from releases.activation import revocation
from releases.activation.activation import activate
from releases.models import Release
from tenancy.access import issue_token
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.roles import Role, Scope
from tests import gradual, making
from tests.cases import cases
from tests.clock import Clock
from tests.executions.submission.continuing import order
from tests.making import PIPELINE
from tests.raw_sql import as_owner, unchanged

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("warm")]


@pytest.fixture
def warm(owner: Tenant, settings: Any) -> None:
    """Cache the admission of the pipeline. It does not expire during a test."""
    settings.SUBMISSION_CACHE_SECONDS = 3600
    send(owner, "warm")
    assert admission.cached(owner, PIPELINE) is not None


def send(owner: Tenant, key: str, **members: Any) -> Submission:
    defaults: dict[str, Any] = {"input": {"n": 1}, "actor": "token:test"}
    return submit(owner, pipeline_id=PIPELINE, idempotency_key=key, **{**defaults, **members})


def refusal(owner: Tenant, **members: Any) -> tuple[str, int]:
    with unchanged(Execution), pytest.raises(CoordinatorError) as caught:
        send(owner, **{"key": "next", **members})
    return caught.value.code, caught.value.status


def test_the_next_submissions_use_a_new_activation(owner: Tenant) -> None:
    assert refusal(owner, expected_release_version="2.0") == ("ACTIVE_RELEASE_CHANGED", 409)
    newer = gradual.candidate(owner, "2.0")
    activate(newer, actor="user:test")
    made = send(owner, "next", expected_release_version="2.0")
    assert (made.release_version, made.execution.release_id) == ("2.0", newer.pk)
    activate(newer, actor="user:test")
    assert send(owner, "after the same activation again").release_version == "2.0"


def test_a_revocation_applies_to_the_next_submission_and_a_repeated_key_is_found(owner: Tenant) -> None:
    revocation.revoke(Release.objects.get(), actor="user:test", reason="leaked")
    assert refusal(owner) == ("ACTIVE_RELEASE_REVOKED", 409)
    assert send(owner, "warm").duplicate is True
    assert refusal(owner, key="warm", input={"n": 2})[0] == "IDEMPOTENCY_KEY_REUSED"


def test_a_cached_admission_expires_for_all_callers_and_one_renews_it_before(
    owner: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, kept = Clock(monkeypatch), admission.cached(owner, PIPELINE)
    clock.ahead += 0.6 * settings.SUBMISSION_CACHE_SECONDS
    assert [admission.cached(owner, PIPELINE) for _ in range(3)] == [None, kept, kept]
    clock.ahead += 0.5 * settings.SUBMISSION_CACHE_SECONDS
    assert [admission.cached(owner, PIPELINE) for _ in range(2)] == [None, None]


def test_a_pipeline_that_is_not_ready_is_refused_once_the_admission_expires_and_not_cached(
    owner: Tenant, settings: Any
) -> None:
    making.silence(*Worker.objects.all())
    assert send(owner, "still remembered").duplicate is False
    admission.cache.clear()
    assert refusal(owner)[0] == "WORKER_UNAVAILABLE"
    assert admission.cached(owner, PIPELINE) is None


@pytest.fixture
def token(owner: Tenant) -> ApiToken:
    admin = User.objects.create_user(f"admin-{owner.slug}")
    Membership.objects.create(user=admin, tenant=owner, role=Role.TENANT_ADMIN)
    made, _ = issue_token(owner, admin, "client", [Scope.SUBMIT], lifetime=timedelta(hours=1))
    return made


def expire(token: ApiToken) -> None:
    ApiToken.objects.filter(pk=token.pk).update(expiry=timezone.now() - timedelta(hours=1))


def narrow(token: ApiToken) -> None:
    with as_owner():
        ApiToken.objects.filter(pk=token.pk).update(scopes=[Scope.READ])


@cases(
    ("end", "expected"),
    [
        (ApiToken.delete, ("NOT_AUTHENTICATED", 401)),
        (expire, ("NOT_AUTHENTICATED", 401)),
        (narrow, ("SCOPE_MISSING", 403)),
    ],
)
def test_an_ended_token_submits_nothing(owner: Tenant, token: ApiToken, end: Any, expected: tuple[str, int]) -> None:
    digest = token.digest
    assert send(owner, "good", token=digest).duplicate is False
    end(token)
    assert [refusal(owner, key=key, token=digest) for key in ("next", "good")] == [expected] * 2


def test_the_next_submission_follows_the_contract_of_a_new_activation(owner: Tenant, release: Release) -> None:
    typed = {"schemaVersion": 2, "canonicalTypes": order("n")}
    activate(
        gradual.candidate(owner, "2.0", **typed, steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}]),
        actor="user:test",
    )
    for wrong in ({"n": 1}, [{"n": "x"}]):
        assert refusal(owner, input=wrong)[0] == "INPUT_INVALID"
    many = send(owner, "many", input=[{"n": 1}]).execution
    assert (many.input_shape, many.result_shape) == ("MULTI", "MATERIALIZED_MULTI")
    activate(release, actor="user:test", reason="back")
    one = send(owner, "one", input={"n": "x"}).execution
    assert (one.input_shape, one.result_shape, one.release) == ("UNI", "SINGLE", release)
