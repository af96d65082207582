"""The cost of large await units: an answer reads as few rows of a large unit as of a small one."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions.models import AwaitUnit, Execution, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.awaits.parking import answer, suspended
from tests.raw_sql import run

pytestmark = pytest.mark.django_db
SMALL, LARGE = 200, 10_000
Ready = tuple[Tenant, Release]


@pytest.fixture
def ready() -> Ready:
    return making.ready()


class Cost(NamedTuple):
    """The cost of a call: the number of its statements, and of the interactions that it reads and writes."""

    statements: int
    read: int
    written: int


def rows() -> tuple[int, int]:
    """Return the number of interactions that this transaction has read and written so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch, n_tup_ins + n_tup_upd FROM pg_stat_xact_user_tables "
            "WHERE relname = 'executions_interaction'"
        )
        read, written = cursor.fetchone()
    return read, written


def cost_of(call: Callable[[], Any]) -> Cost:
    before = rows()
    with CaptureQueriesContext(connection) as captured:
        call()
    after = rows()
    return Cost(len(captured), after[0] - before[0], after[1] - before[1])


def parked(ready: Ready, items: int) -> Execution:
    requests = [f'{{"n": {item}}}' for item in range(items)]
    return suspended(ready, f"of-{items}", requests=requests, itemized=True, gives_many=True)


def interaction_of(of: Execution, item: int) -> Interaction:
    return Interaction.objects.select_related("tenant").get(unit=of.await_unit_id, item_index=item)


_ANSWER_HALF = """
WITH answered AS (
    UPDATE executions_interaction SET status = 'COMPLETED', response = request, actor = 'a', completed_at = now()
    WHERE unit_id = %s AND item_index %% 2 = 0 RETURNING id
)
UPDATE executions_awaitunit SET answered_items = (SELECT count(*) FROM answered) WHERE id = %s
"""


def test_an_answer_costs_the_same_for_every_size_of_unit(ready: Ready) -> None:
    costs = []
    for items in (SMALL, LARGE):
        made = parked(ready, items)
        run(_ANSWER_HALF, made.await_unit_id, made.await_unit_id)
        one = interaction_of(made, items - 1)
        costs.append(cost_of(partial(answer, one)))
    small, large = costs
    assert (large.statements, large.written) == (small.statements, 1)
    assert large.read <= 10


def test_the_last_answer_resumes_the_execution_with_all_answers(ready: Ready) -> None:
    made = parked(ready, 20)
    for item in reversed(range(20)):
        made.refresh_from_db()
        assert made.status == "WAITING_EXTERNAL"
        answer(interaction_of(made, item), {"n": -item})
    made.refresh_from_db()
    assert (made.status, made.progress) == ("QUEUED", [{"n": -item} for item in range(20)])


def test_a_repeated_answer_is_not_counted(ready: Ready) -> None:
    made = parked(ready, 2)
    for _ in range(3):
        answer(interaction_of(made, 0))
    made.refresh_from_db()
    assert made.status == "WAITING_EXTERNAL"
    assert AwaitUnit.objects.get(execution=made).answered_items == 1


def test_parking_takes_as_many_statements_for_a_large_unit_as_for_a_small_one(ready: Ready) -> None:
    parked(ready, 1)  # the first submission fills caches
    small = cost_of(lambda: parked(ready, SMALL))
    large = cost_of(lambda: parked(ready, LARGE))
    assert large.statements == small.statements
    assert (small.written, large.written) == (SMALL, LARGE)
