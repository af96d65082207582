"""A cached admission never admits what the tables do not. Each test fills the cache first."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions.models import Execution, Worker
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit, submit_many
from foundation.errors import CoordinatorError
from releases.activation import revocation
from releases.activation.activation import activate
from releases.models import Release
from tenancy.access import issue_token
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.cases import cases
from tests.clock import Clock
from tests.raw_sql import as_owner

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def long_memory(settings: Any) -> None:
    """Cached admissions do not expire during a test."""
    settings.SUBMISSION_CACHE_SECONDS = 3600


def send(owner: Tenant, key: str, **members: Any) -> Submission:
    return submit(
        owner,
        **{"pipeline_id": making.PIPELINE, "input": {"n": 1}, "idempotency_key": key, "actor": "token:test", **members},
    )


@pytest.fixture
def owner() -> Tenant:
    """A tenant with a pipeline whose admission is cached."""
    made, _ = making.ready()
    send(made, "warm")
    assert admission.cached(made, making.PIPELINE) is not None
    return made


def test_the_next_submission_uses_a_new_activation(owner: Tenant) -> None:
    newer = making.registered(owner, "2.0")
    making.worker(newer, "worker-2")
    activate(newer, actor="user:test")
    made = send(owner, "next")
    assert made.release_version == "2.0"
    assert Execution.objects.get(pk=made.execution_id).release_id == newer.pk


def test_the_next_batch_uses_a_new_activation(owner: Tenant) -> None:
    newer = making.registered(owner, "2.0")
    making.worker(newer, "worker-2")
    activate(newer, actor="user:test")
    requests = [ExecutionRequest(making.PIPELINE, {"n": number}, f"k{number}") for number in range(5)]
    made = submit_many(owner, requests, actor="token:test")
    assert {each.release_version for each in made if isinstance(each, Submission)} == {"2.0"}
    assert len(made) == Execution.objects.filter(release=newer).count() == 5


def test_executions_are_accepted_after_the_same_release_is_activated_again(owner: Tenant) -> None:
    activate(Release.objects.select_related("pipeline").get(), actor="user:test")
    assert send(owner, "next").release_version == "1.0"


def test_a_revocation_applies_to_the_next_submission(owner: Tenant) -> None:
    revocation.revoke(Release.objects.get(), actor="user:test", reason="leaked")
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "next")
    assert caught.value.code == "ACTIVE_RELEASE_REVOKED"
    assert Execution.objects.filter(execution_key="next").count() == 0


def test_rejections_are_not_cached(owner: Tenant) -> None:
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "next", expected_release_version="2.0")
    assert caught.value.code == "ACTIVE_RELEASE_CHANGED"
    newer = making.registered(owner, "2.0")
    making.worker(newer, "worker-2")
    activate(newer, actor="user:test")
    assert send(owner, "next", expected_release_version="2.0").release_version == "2.0"


def test_a_cached_admission_expires(owner: Tenant, settings: Any) -> None:
    making.silence(*Worker.objects.all())
    assert send(owner, "still remembered").duplicate is False
    settings.SUBMISSION_CACHE_SECONDS = 0
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "next")
    assert caught.value.code == "WORKER_UNAVAILABLE"


def test_one_caller_renews_an_admission_before_it_expires(
    owner: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = admission.cached(owner, making.PIPELINE)
    assert kept is not None
    Clock(monkeypatch).ahead += settings.SUBMISSION_CACHE_SECONDS * 0.6
    assert [admission.cached(owner, making.PIPELINE) for _ in range(3)] == [None, kept, kept]


def test_a_repeated_key_is_found_despite_a_cached_admission(owner: Tenant) -> None:
    again = send(owner, "warm")
    assert again.duplicate is True
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "warm", input={"n": 2})
    assert caught.value.code == "IDEMPOTENCY_KEY_REUSED"


@pytest.fixture
def token(owner: Tenant) -> ApiToken:
    admin = User.objects.create_user(f"admin-{owner.slug}")
    Membership.objects.create(user=admin, tenant=owner, role=Role.TENANT_ADMIN)
    made, _ = issue_token(owner, admin, "client", [Scope.SUBMIT], lifetime=timedelta(hours=1))
    return made


def revoke(token: ApiToken) -> None:
    token.delete()


def expire(token: ApiToken) -> None:
    ApiToken.objects.filter(pk=token.pk).update(expiry=timezone.now() - timedelta(hours=1))


def narrow(token: ApiToken) -> None:
    with as_owner():
        ApiToken.objects.filter(pk=token.pk).update(scopes=[Scope.READ])


def deactivate(token: ApiToken) -> None:
    User.objects.filter(pk=token.user_id).update(is_active=False)


@cases(
    ("end", "refusal"),
    [
        (revoke, ("NOT_AUTHENTICATED", 401)),
        (expire, ("NOT_AUTHENTICATED", 401)),
        (narrow, ("SCOPE_MISSING", 403)),
        (deactivate, ("NOT_AUTHENTICATED", 401)),
    ],
)
def test_an_ended_token_submits_nothing(owner: Tenant, token: ApiToken, end: Any, refusal: tuple[str, int]) -> None:
    digest = token.digest
    assert send(owner, "good", token=digest).duplicate is False
    end(token)
    with pytest.raises(CoordinatorError) as caught:
        send(owner, "next", token=digest)
    assert (caught.value.code, caught.value.status) == refusal
    with pytest.raises(CoordinatorError):
        send(owner, "good", token=digest)
    assert Execution.objects.filter(execution_key="next").count() == 0


def test_a_token_of_another_tenant_submits_nothing(owner: Tenant, token: ApiToken) -> None:
    other, _ = making.ready()
    send(other, "warm")
    with pytest.raises(CoordinatorError):
        send(other, "next", token=token.digest)
    assert Execution.objects.filter(execution_key="next").count() == 0
