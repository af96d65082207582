"""Submissions race for the permits of a quota, each on a separate connection."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from executions.models import Execution
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.usefixtures("committed")
THREADS = 37


@pytest.mark.parametrize("batch", [1, 3])
def test_racing_submissions_use_up_a_quota_exactly(batch: int) -> None:
    owner = making.tenant()
    making.ready(owner)
    Tenant.objects.filter(pk=owner.pk).update(quota_open_executions=THREADS)
    owner.refresh_from_db()

    def submit(number: int) -> int:
        """Submit four batches. Return how many executions were accepted."""
        try:
            orders = [ExecutionRequest(making.PIPELINE, {"n": 1}, f"{number}-{part}") for part in range(4 * batch)]
            verdicts = [
                verdict
                for start in range(0, len(orders), batch)
                for verdict in submit_many(owner, orders[start : start + batch], actor="token:test")
            ]
            return sum(isinstance(verdict, Submission) for verdict in verdicts)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        accepted = sum(pool.map(submit, range(THREADS)))
    assert accepted == Execution.objects.filter(tenant=owner).count() == THREADS
