"""Places of concurrency keys: whatever runs at the same time or dies, there are never too many, and none is lost."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from executions.errors import ConcurrencyLimitReached
from executions.models import Execution, Schedule
from executions.models.execution import WAITS_FOR_PLACE
from executions.schedules import firing
from executions.submission import places
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.sessions import race, results_of
from tests.executions.limited import limited

THREADS, EACH, LIMIT = 4, 6, 3


def submitted(owner: Tenant, *inputs: tuple[Any, str]) -> list[object]:
    return [*submit_many(owner, [ExecutionRequest(making.PIPELINE, *row) for row in inputs], actor="token:test")]


def batch(owner: Tenant, number: int, customers: int = 3) -> list[object]:
    """Submit executions with several keys, in another order in each thread. Return the verdicts."""
    names = [f"c-{(index + number) % customers}" for index in range(EACH)]
    inputs = [({"customer": name}, f"{number}-{name}-{index}") for index, name in enumerate(names)]
    verdicts = submitted(owner, *inputs)
    places.grant(Execution.objects.filter(tenant=owner).values_list("pk", flat=True))
    return verdicts


def in_progress(owner: Tenant) -> Counter[str | None]:
    rows = Execution.objects.filter(tenant=owner, finished_at=None, next_due_at__lt=WAITS_FOR_PLACE)
    return Counter(rows.values_list("concurrency_key", flat=True))


def work(owner: Tenant, lost: bool) -> int:
    """Claim and end what is due, until nothing is. Return how many ended. With `lost`, no wake-up of an end arrives."""
    ended = 0
    while claims := making.claimed(owner, limit=2):
        assert all(count <= LIMIT for count in in_progress(owner).values())
        ended += making.record(*map(making.outcome_of, claims))
        if not lost:
            places.grant([claim.execution_id for claim in claims])
    return ended


@pytest.mark.parametrize("lost", [False, True])
def test_racing_submissions_and_ends_keep_the_limit_and_nothing_waits_forever(lost: bool) -> None:
    owner = making.tenant()
    limited(owner, limit=LIMIT, key="customer")
    results_of(race(*(partial(batch, owner, number) for number in range(THREADS))))
    assert in_progress(owner) == {f"customer=c-{number}": LIMIT for number in range(3)}
    calls: list[Callable[[], int]] = [partial(work, owner, lost)] * THREADS
    ended = sum(results_of(race(*calls)))
    for _ in range(THREADS * EACH):
        places.sweep()
        ended += work(owner, lost)
    assert ended == THREADS * EACH
    assert set(Execution.objects.filter(tenant=owner).values_list("status", flat=True)) == {"SUCCEEDED"}


def test_racing_submissions_are_refused_exactly_beyond_the_limit() -> None:
    owner = making.tenant()
    limited(owner, limit=LIMIT, whenFull="refuse")
    answers = results_of(race(*(partial(batch, owner, n) for n in range(THREADS))))
    verdicts = Counter(type(verdict) for answer in answers for verdict in answer)
    assert verdicts == {Submission: LIMIT, ConcurrencyLimitReached: THREADS * EACH - LIMIT}
    assert Execution.objects.count() == LIMIT
    results_of(race(*[partial(work, owner, False)] * 2))
    assert in_progress(owner) == {}


def test_racing_submissions_of_one_key_return_its_execution_even_if_no_place_is_left() -> None:
    owner = making.tenant()
    limited(owner, limit=1, whenFull="refuse")
    limited(owner, "2.0", limit=1)
    Pipeline.objects.update(skew_grace_minutes=60)
    submit = partial(making.submitted, owner, "key", release_version="1.0")
    assert len({submission.execution_id for submission in results_of(race(*[submit] * 10))}) == 1


def test_racing_claims_and_grants_start_no_more_in_a_period_than_the_rate_allows() -> None:
    owner = making.tenant()
    limited(owner, rate={"limit": 3, "seconds": 1})
    results_of(race(*(partial(batch, owner, number) for number in range(2))))
    ended, deadline = 0, time.monotonic() + 30
    while ended < 2 * EACH and time.monotonic() < deadline:
        results_of(race(*[places.sweep] * 3))
        ended += sum(results_of(race(*[partial(work, owner, False)] * 3)))
    starts = [execution.started_at for execution in Execution.objects.filter(tenant=owner).order_by("started_at")]
    assert len(starts) == ended == 2 * EACH
    gaps = [later - first for first, later in zip(starts, starts[3:], strict=False) if first and later]
    assert len(gaps) == 2 * EACH - 3
    assert min(gaps) >= timedelta(seconds=1)


def test_the_newest_of_racing_batches_replaces_all_others() -> None:
    owner = making.tenant()
    limited(owner, debounceSeconds=60, key="customer")
    results_of(race(*(partial(batch, owner, number) for number in range(THREADS))))
    rows = Execution.objects.filter(tenant=owner)
    assert len({row.created_at for row in rows}) == THREADS * EACH, "the items of a batch have an order"
    newest = {row.concurrency_key: row.pk for row in rows.order_by("created_at")}
    assert {row.concurrency_key: row.pk for row in rows.filter(finished_at=None)} == newest
    assert len(newest) == 3
    assert rows.filter(error_code="REPLACED").count() == THREADS * EACH - 3


# --- schedules ---

COUNT = 5


def test_two_clocks_fire_each_time_once(ready: tuple[Tenant, Release]) -> None:
    for overlap, executions in (("queue", COUNT), ("skip", 1), ("cancel", 1)):
        made = making.scheduled(ready[0], overlap, "* * * * *", overlap=overlap)
        for _ in range(3):
            late = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=COUNT - 1)
            Schedule.objects.filter(pk=made.pk).update(next_at=late)
            results_of(race(*[firing.fire] * 4))
            assert made.fires.count() == COUNT
            assert Execution.objects.filter(submitted_by=made.actor).count() == executions
        assert made.fires.filter(state="SUBMITTED").count() == executions
