"""Batches race with changes that end their release, and with each other. Each has a separate connection."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction

from executions.models import Execution
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.waiting import until_blocked

pytestmark = pytest.mark.usefixtures("committed")
Verdicts = list[Submission | CoordinatorError]


def orders(*keys: str, pipeline_id: str = making.PIPELINE, value: Any = None) -> list[ExecutionRequest]:
    return [ExecutionRequest(pipeline_id, {"n": 1} if value is None else value, key) for key in keys]


def codes(verdicts: Verdicts) -> list[str]:
    return [each.code if isinstance(each, CoordinatorError) else "ACCEPTED" for each in verdicts]


@contextmanager
def submitting(
    owner: Tenant, batch: list[ExecutionRequest], *, within: Callable[[], Any] = nullcontext
) -> Iterator[Future[Verdicts]]:
    """Submit a batch in a separate thread, in the context `within`. Its INSERT waits while the block runs.

    Another transaction has inserted the first key of the batch and is rolled back when the block ends.
    """

    def run() -> Verdicts:
        try:
            with within():
                return submit_many(owner, batch, actor="token:test")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            submit_many(owner, batch[:1], actor="token:other")
            future = pool.submit(run)
            until_blocked(connection)
            yield future
            transaction.set_rollback(True)
        future.result(30)


def elsewhere(call: Callable[[], Any]) -> None:
    """Run `call` over another connection and commit."""

    def run() -> None:
        try:
            call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result(30)


def revoked(release: Release) -> Callable[[], Any]:
    return partial(revoke, release, actor="user:test", reason="a mistake")


@pytest.mark.parametrize("within", [nullcontext, transaction.atomic])
def test_a_batch_that_races_a_revocation_gets_a_verdict_for_each_item(within: Callable[[], Any]) -> None:
    owner, release = making.ready()
    with submitting(owner, orders("a", "b", "c"), within=within) as batch:
        elsewhere(revoked(release))
    assert codes(batch.result()) == ["ACTIVE_RELEASE_REVOKED"] * 3
    assert Execution.objects.count() == 0


def test_a_batch_that_races_a_revocation_and_the_next_activation_is_pinned_to_the_next_release() -> None:
    owner, release = making.ready()
    newer = making.registered(owner, "2.0")
    making.worker(newer, "worker-2")

    def replace() -> None:
        activate(newer, actor="user:test")
        revoke(release, actor="user:test", reason="a mistake")

    with submitting(owner, orders("a", "b", "c")) as batch:
        elsewhere(replace)
    assert codes(batch.result()) == ["ACCEPTED"] * 3
    assert set(Execution.objects.values_list("release_version", flat=True)) == {"2.0"}
