"""Concurrent answers to the items of a unit."""

from functools import partial

import pytest

from executions.lifecycle import cancellation
from executions.models import Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import race, results_of
from tests.executions.awaits.parking import answer, suspended

Ready = tuple[Tenant, Release]


@pytest.fixture
def ready(committed: None) -> Ready:
    return making.ready()


def test_concurrent_last_answers_are_all_counted(ready: Ready) -> None:
    for round_number in range(5):
        made = suspended(ready, f"k{round_number}", requests=["{}"] * 4, itemized=True, gives_many=True)
        items = Interaction.objects.filter(execution=made).select_related("tenant")
        results_of(race(*(partial(answer, item) for item in items)))
        made.refresh_from_db()
        assert (made.status, made.progress) == ("QUEUED", [{"n": 2}] * 4)
        cancellation.cancel(ready[0], made.pk, actor="a", reason="")
