"""The cost of large await units: parking and an answer cost the same for a large unit as for a small one."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions.models import Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests.executions.awaits.parking import answer, suspended
from tests.raw_sql import run

pytestmark = pytest.mark.django_db
SMALL, LARGE = 200, 10_000
ANSWER_HALF = """
WITH answered AS (
    UPDATE executions_interaction SET status = 'COMPLETED', response = request, actor = 'a', completed_at = now()
    WHERE unit_id = %s AND item_index %% 2 = 0 RETURNING id
)
UPDATE executions_awaitunit SET answered_items = (SELECT count(*) FROM answered) WHERE id = %s
"""


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


def park(ready: tuple[Tenant, Release], items: int) -> None:
    requests = [f'{{"n": {item}}}' for item in range(items)]
    suspended(ready, f"of-{items}", requests=requests, itemized=True, gives_many=True)


def test_parking_and_an_answer_cost_the_same_for_every_size_of_unit(
    ready: tuple[Tenant, Release], settings: Any
) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    park(ready, 1)  # the first submission fills caches
    parking, answering = [], []
    for items in (SMALL, LARGE):
        parking.append(cost_of(partial(park, ready, items)))
        last = Interaction.objects.select_related("tenant").get(item_index=items - 1)
        run(ANSWER_HALF, last.unit_id, last.unit_id)
        answering.append(cost_of(partial(answer, last)))
        assert answering[-1].written == 1
    assert [cost.written for cost in parking] == [SMALL, LARGE]
    assert parking[0].statements == parking[1].statements
    assert answering[0].statements == answering[1].statements
    assert answering[1].read <= 10
