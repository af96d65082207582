"""A batch of submissions that races with what a test does meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import connection, connections, transaction

from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError
from tenancy.models import Tenant
from tests.concurrency.waiting import until_blocked

Verdicts = list[Submission | CoordinatorError]


@contextmanager
def submitting(
    owner: Tenant, batch: Sequence[ExecutionRequest], *, within: Callable[[], Any] = nullcontext
) -> Iterator[Future[Verdicts]]:
    """Submit a batch in a separate thread, in the context `within`. Its INSERT has read the tables and waits while the
    block runs.

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
