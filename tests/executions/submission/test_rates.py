"""Rates limit how many executions start in a period, and after a quiet time the newest of a burst starts."""

import random
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from executions.errors import StartRateReached
from executions.explanation.present import Present
from executions.holds import holds
from executions.lifecycle.interventions import redrive
from executions.models import Execution
from executions.submission import places
from executions.submission.requests import Start
from governance.resubmission.resubmission import resubmit
from governance.smoke_tests import smoke_tests
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.limited import claimed_keys, earlier, end, limited, submitted
from tests.executions.moments import now
from tests.raw_sql import run, unguarded
from tests.wakeups import Broker, broker, names

__all__ = ["broker"]
pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
RATE = {"limit": 2, "seconds": 60}


@pytest.fixture
def owner(db: None) -> Tenant:
    return making.tenant()


def replaced() -> list[Execution]:
    return list(Execution.objects.filter(error_code="REPLACED"))


def test_no_more_start_in_a_period_than_the_rate_allows_even_if_they_are_claimed_late(owner: Tenant) -> None:
    limited(owner, rate=RATE, key="customer")
    third = submitted(owner, "a", "b", "c", "d")[2]
    submitted(owner, "other", customer="c-2")
    assert "at most 2 executions with the concurrency key customer=c-1 start in 60 seconds" in str(
        Present(third).now()[0]
    )
    assert places.sweep() == 0, "what is due and has not started keeps its turn"
    assert sorted(claimed_keys(owner)) == ["a", "b", "other"]
    end("a", "b")
    assert places.sweep() == 0, "an end gives no turn back"
    earlier(2 * MINUTE, "a")
    assert (places.sweep(), claimed_keys(owner)) == (1, ["c"])
    earlier(2 * MINUTE, "b", "c")
    Pipeline.objects.update(rate_limit=1)
    submitted(owner, "e")
    assert claimed_keys(owner) == ["d"], "the policy moves the limit"


def test_a_redrive_and_a_resubmission_are_starts(owner: Tenant) -> None:
    limited(owner, rate={"limit": 1, "seconds": 60})
    [first] = submitted(owner, "first")
    [claim] = making.claimed(owner)
    making.record(making.failure(claim, retryable=False))
    redrive(owner, first.pk, actor="user:test", reason="again", allow_failed=True)
    submitted(owner, "second")
    assert claimed_keys(owner) == ["first"]
    end("first")
    copy = resubmit(owner, first.pk, actor="user:test", reason="again")
    assert (places.grant([copy.pk]), claimed_keys(owner)) == (0, [])


def test_a_submission_beyond_the_rate_is_refused_if_the_release_says_so(owner: Tenant) -> None:
    limited(owner, rate=RATE, whenFull="refuse")
    submitted(owner, "a", "b")
    for _ in range(2):
        with pytest.raises(StartRateReached):
            making.submitted(owner, "c", {"customer": "c-1"})
        assert claimed_keys(owner) in (["a", "b"], [])
    earlier(2 * MINUTE, "b")
    submitted(owner, "c")
    assert claimed_keys(owner) == ["c"]


@cases(("rules", "constraint"), [({"limit": 1}, "place"), ({"rate": {"limit": 1, "seconds": 9}}, "rate")])
def test_the_database_gives_no_start_too_many(owner: Tenant, rules: dict[str, Any], constraint: str) -> None:
    limited(owner, **rules)
    submitted(owner, "a", "b")
    with pytest.raises(IntegrityError, match=f"execution_{constraint}_free|{constraint}"), transaction.atomic():
        run("UPDATE executions_execution SET next_due_at = now() WHERE execution_key = 'b'")


def test_only_the_newest_of_a_burst_starts_after_a_quiet_time(owner: Tenant) -> None:
    limited(owner, debounceSeconds=60, key="customer")
    first, _ = submitted(owner, "a", "b", start=Start(priority=1))
    assert first.due_at is not None
    submitted(owner, "other", customer="c-2")
    [newest] = submitted(owner, "c")
    first.refresh_from_db()
    assert (first.status, first.error_code) == ("CANCELLED", "REPLACED")
    newer = {row.execution_key: row.events.get(kind="REPLACED").data["executionId"] for row in replaced()}
    second = Execution.objects.get(execution_key="b")
    assert newer == {"a": str(second.pk), "b": str(newest.pk)}
    assert str(newest.pk) in str(Present(second).now()[0])
    assert "which would replace it, until" in str(Present(newest).now()[0])
    assert claimed_keys(owner) == []
    earlier(2 * MINUTE, "c", "other")
    assert (places.sweep(), sorted(claimed_keys(owner))) == (2, ["c", "other"])
    [later] = submitted(owner, "d")
    end("c")
    copy = resubmit(owner, newest.pk, actor="user:test", reason="again")
    assert (places.grant([copy.pk]), claimed_keys(owner)) == (1, [copy.execution_key]), "an operator's order"
    later.refresh_from_db()
    assert later.status == "QUEUED"


def test_a_message_is_sent_for_the_time_at_which_another_may_start(owner: Tenant, broker: Broker) -> None:
    limited(owner, debounceSeconds=2)
    [first] = [making.submitted(owner, "a", {"n": 1}).execution]
    sent = broker.after(lambda: places.grant([first.pk]))
    assert names(sent) == [f"{places.GRANT_DUE_TASK} later"]


@cases("scope", ["release", "pipeline"])
def test_what_is_paused_gets_no_place_that_others_could_have(owner: Tenant, scope: str) -> None:
    old = limited(owner, limit=1)
    submitted(owner, "a", "b")
    holds.pause(old if scope == "release" else old.pipeline, actor="user:test", reason="r", refuses_submissions=False)
    with unguarded(Execution):
        Execution.objects.filter(execution_key="a").update(finished_at=now(), status="CANCELLED")
    limited(owner, "2.0", limit=1)
    submitted(owner, "c")
    assert claimed_keys(owner) == (["c"] if scope == "release" else [])


def test_a_smoke_test_takes_no_place(owner: Tenant) -> None:
    release = limited(owner, limit=1, whenFull="refuse")
    submitted(owner, "a")
    smoke_tests.start(release, actor="user:test", input={"n": 1}, idempotency_key="k")
    assert len(claimed_keys(owner)) == 2


def test_a_policy_moves_only_what_the_release_declares(owner: Tenant) -> None:
    limited(owner, limit=3)
    Pipeline.objects.update(concurrency_limit=1, rate_limit=1)
    submitted(owner, "a", "b")
    assert claimed_keys(owner) == ["a"]
    assert Release.objects.get().declarations == {"concurrency": {"limit": 3}}
    Pipeline.objects.update(concurrency_limit=None)
    assert (places.sweep(), claimed_keys(owner)) == (1, ["b"])


@cases("limit", [1, 1000])
def test_nothing_overtakes_what_was_submitted_two_hours_before(owner: Tenant, limit: int) -> None:
    """A priority moves an execution by an hour, so all of them start while more is submitted than workers do."""
    limited(owner, limit=limit)
    chance, step, order = random.Random(limit), timedelta(minutes=20), list[int]()
    for number in range(60):
        if number < 40:
            submitted(owner, str(number), start=Start(priority=chance.choice([None, -1, 1, 1])))
        with unguarded(Execution):
            Execution.objects.filter(finished_at=None).update(next_due_at=F("next_due_at") - step)
        if number % 2 or number >= 40:
            places.sweep()
            keys = claimed_keys(owner, most=1)
            end(*keys)
            order += map(int, keys)
    assert sorted(order) == list(range(40))
    latest = max(first - second for place, first in enumerate(order) for second in order[place:])
    assert 0 < latest <= 6
