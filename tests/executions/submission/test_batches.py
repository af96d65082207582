"""Batches: each pipeline is checked once, for any number of items and any results."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions.models import Execution, Worker
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.access import issue_token
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making

pytestmark = pytest.mark.django_db

OTHER = "org.example.other"
INTEGER: dict[str, Any] = {
    "steps": [{**making.STEP, "inputTypeId": "Order"}],
    "schemaVersion": 2,
    "canonicalTypes": {
        "Order": {
            "definition": {
                "id": "Order",
                "kind": "record",
                "fields": [{"name": "n", "type": {"kind": "scalar", "id": "integer"}, "optional": False}],
            }
        }
    },
}


@pytest.fixture(autouse=True)
def long_memory(settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600


@pytest.fixture
def owner() -> Tenant:
    """A tenant with a pipeline whose admission is cached."""
    made, _ = making.ready(**INTEGER)
    submit_many(made, requests(1, "warm"), actor="token:test")
    return made


def requests(count: int, prefix: str, **members: Any) -> list[ExecutionRequest]:
    return [
        ExecutionRequest(
            **{"pipeline_id": making.PIPELINE, "input": {"n": number}, "idempotency_key": f"{prefix}{number}"} | members
        )
        for number in range(count)
    ]


def submitted(owner: Tenant, batch: list[ExecutionRequest], token: str | None = None) -> tuple[set[str], int]:
    """Submit a batch. Return the distinct results and the number of SQL statements."""
    with CaptureQueriesContext(connection) as caught:
        verdicts = submit_many(owner, batch, actor="token:test", token=token)
    assert len(verdicts) == len(batch)
    return {_name(verdict) for verdict in verdicts}, len(caught)


def _name(verdict: Submission | CoordinatorError) -> str:
    if isinstance(verdict, CoordinatorError):
        return verdict.code
    return "REPEATED" if verdict.duplicate else f"ACCEPTED {verdict.release_version}"


def require_constant(
    owner: Tenant, expected: str, batch: Callable[[int], list[ExecutionRequest]], **members: Any
) -> None:
    """Require that every item has the result `expected`, and that 200 items need as many statements as 2."""
    few, statements = submitted(owner, batch(2), **members)
    many, for_many = submitted(owner, batch(200), **members)
    assert few == many == {expected}
    assert for_many == statements


def renew(owner: Tenant) -> None:
    """Activate the same release again, so that the cached admission is outdated."""
    activate(Release.objects.select_related("pipeline").get(pipeline__tenant=owner), actor="user:test")


def test_a_batch_right_after_an_activation(owner: Tenant) -> None:
    renew(owner)
    few, statements = submitted(owner, requests(2, "few"))
    renew(owner)
    many, for_many = submitted(owner, requests(200, "many"))
    assert few == many == {"ACCEPTED 1.0"}
    assert for_many == statements
    assert Execution.objects.filter(execution_key__startswith="many").count() == 200


def test_an_unknown_pipeline(owner: Tenant) -> None:
    require_constant(owner, "PIPELINE_UNKNOWN", lambda count: requests(count, "k", pipeline_id=OTHER))


def test_a_revoked_release(owner: Tenant) -> None:
    revoke(Release.objects.get(), actor="user:test", reason="leaked")
    require_constant(owner, "ACTIVE_RELEASE_REVOKED", lambda count: requests(count, "k"))


def test_another_release_than_expected(owner: Tenant) -> None:
    require_constant(
        owner, "ACTIVE_RELEASE_CHANGED", lambda count: requests(count, "k", expected_release_version="0.9")
    )


def test_inputs_that_do_not_fit(owner: Tenant) -> None:
    require_constant(owner, "INPUT_INVALID", lambda count: requests(count, "k", input={"n": "one"}))


def test_no_worker(owner: Tenant, settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 0
    making.silence(*Worker.objects.filter(tenant=owner))
    require_constant(owner, "WORKER_UNAVAILABLE", lambda count: requests(count, "k"))


def test_missing_bytes(owner: Tenant, settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 0
    making.stored_file(Release.objects.get().artifacts.get().digest).unlink()
    require_constant(owner, "ARTIFACT_MISSING", lambda count: requests(count, "k"))


def test_repeated_keys(owner: Tenant) -> None:
    submit_many(owner, requests(200, "k"), actor="token:test")
    require_constant(owner, "REPEATED", lambda count: requests(count, "k"))
    require_constant(owner, "IDEMPOTENCY_KEY_REUSED", lambda count: requests(count, "k", input={"n": -1}))


def test_one_key_many_times(owner: Tenant) -> None:
    verdicts, _ = submitted(owner, [ExecutionRequest(making.PIPELINE, {"n": 1}, "k")] * 200)
    assert verdicts == {"ACCEPTED 1.0", "REPEATED"}
    assert Execution.objects.filter(execution_key="k").count() == 1


@pytest.fixture
def expired(owner: Tenant) -> ApiToken:
    admin = User.objects.create_user(f"admin-{owner.slug}")
    Membership.objects.create(user=admin, tenant=owner, role=Role.TENANT_ADMIN)
    token, _ = issue_token(owner, admin, "client", [Scope.SUBMIT], lifetime=timedelta(hours=1))
    ApiToken.objects.filter(pk=token.pk).update(expiry=timezone.now() - timedelta(hours=1))
    return token


def test_an_expired_token(owner: Tenant, expired: ApiToken) -> None:
    require_constant(owner, "NOT_AUTHENTICATED", lambda count: requests(count, "k"), token=expired.digest)


def test_each_of_several_pipelines_is_checked_once(owner: Tenant) -> None:
    making.ready(owner, pipeline_id=OTHER)

    def mixed(count: int) -> list[ExecutionRequest]:
        return [*requests(count, "x", expected_release_version="0"), *requests(count, "x", pipeline_id="none")]

    few, statements = submitted(owner, mixed(2))
    many, for_many = submitted(owner, mixed(200))
    assert few == many == {"ACTIVE_RELEASE_CHANGED", "PIPELINE_UNKNOWN"}
    assert for_many == statements
