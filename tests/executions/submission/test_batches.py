"""Batches: each pipeline is checked once, for any number of items and any results."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions.models import Execution
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.submission.continuing import order

pytestmark = pytest.mark.django_db
OTHER = "org.example.other"


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    """A release whose first step takes a record with the integer `n`."""
    return making.ready(schemaVersion=2, canonicalTypes=order("n"))


@pytest.fixture(autouse=True)
def long_memory(settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600


def requests(count: int, prefix: str = "k", **members: Any) -> list[ExecutionRequest]:
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
    owner: Tenant, expected: set[str], batch: Callable[[int], list[ExecutionRequest]], **members: Any
) -> None:
    """Require that the items have these results, and that 200 items need as many statements as 2.

    The admission of the pipeline is cached before.
    """
    submit_many(owner, requests(1, "warm"), actor="token:test")
    few, statements = submitted(owner, batch(2), **members)
    many, for_many = submitted(owner, batch(200), **members)
    assert few == many == expected
    assert for_many == statements


def test_a_batch_right_after_an_activation(owner: Tenant) -> None:
    counts = []
    for size in (2, 200):
        submit_many(owner, requests(1, "warm"), actor="token:test")
        # Now the cached admission is outdated.
        activate(Release.objects.select_related("pipeline").get(), actor="user:test")
        verdicts, statements = submitted(owner, requests(size, f"of-{size}-"))
        assert verdicts == {"ACCEPTED 1.0"}
        counts.append(statements)
    assert counts[0] == counts[1]
    assert Execution.objects.filter(execution_key__startswith="of-200-").count() == 200


@cases(
    ("expected", "members"),
    [
        ("PIPELINE_UNKNOWN", {"pipeline_id": OTHER}),
        ("ACTIVE_RELEASE_CHANGED", {"expected_release_version": "0.9"}),
        ("INPUT_INVALID", {"input": {"n": "one"}}),
    ],
)
def test_a_request_that_is_refused(owner: Tenant, expected: str, members: dict[str, Any]) -> None:
    require_constant(owner, {expected}, lambda count: requests(count, **members))


def test_repeated_keys(owner: Tenant) -> None:
    submit_many(owner, requests(200), actor="token:test")
    require_constant(owner, {"REPEATED"}, requests)
    require_constant(owner, {"IDEMPOTENCY_KEY_REUSED"}, lambda count: requests(count, input={"n": -1}))
    verdicts, _ = submitted(owner, [ExecutionRequest(making.PIPELINE, {"n": 1}, "once")] * 200)
    assert verdicts == {"ACCEPTED 1.0", "REPEATED"}
    assert Execution.objects.filter(execution_key="once").count() == 1
