"""At most so many executions with an equal concurrency key are in progress as their release declares."""

import random
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from executions.errors import ConcurrencyLimitReached, StartRateReached
from executions.explanation.present import Present
from executions.holds import holds
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Execution
from executions.state_machine.moves import GRANT_TASK
from executions.submission import places
from executions.submission.requests import Start
from executions.submission.submission import ExecutionRequest, submit_many
from governance.resubmission.resubmission import resubmit
from governance.smoke_tests import smoke_tests
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.limited import claimed_keys, earlier, end, limited, submitted
from tests.executions.moments import now
from tests.raw_sql import raised, run, unguarded
from tests.wakeups import Broker, broker, names
from wire.documents.concurrency import MOST, ConcurrencyLimit, limit_of, wrong_limit

__all__ = ["broker"]
HOUR = timedelta(hours=1)


@pytest.fixture
def owner(db: None) -> Tenant:
    return making.tenant()


def test_executions_beyond_the_limit_wait_in_their_order_until_one_with_their_key_ends(owner: Tenant) -> None:
    limited(owner, limit=2, key="customer")
    first, _, third, _ = submitted(owner, "a", "b", "c", "d")
    submitted(owner, "other", customer="c-2")
    submitted(owner, "high", start=Start(priority=1))
    assert (making.reread(third).due_at, first.concurrency_key, third.status) == (None, "customer=c-1", "QUEUED")
    assert sorted(claimed_keys(owner)) == ["a", "b", "other"]
    assert places.sweep() == 0
    end("a")
    assert claimed_keys(owner) == ["high"]
    end("b", code="Broken")
    assert claimed_keys(owner) == ["c"]
    cancel(owner, Execution.objects.get(execution_key="high").pk, actor="user:test", reason="r")
    assert places.sweep() == 1, "the sweep finds what a lost wake-up would have started"
    assert claimed_keys(owner) == ["d"]


def test_a_place_is_kept_while_an_execution_waits_and_taken_again_by_a_redrive(owner: Tenant) -> None:
    limited(owner, limit=1)
    first, second = submitted(owner, "first", "second")
    [claim] = making.claimed(owner)
    making.record(making.failure(claim, retryable=True))
    assert (making.reread(first).status, places.sweep(), claimed_keys(owner)) == ("WAIT_RETRY", 0, [])
    cancel(owner, first.pk, actor="user:test", reason="r")
    assert places.grant([first.pk]) == 1
    [claim] = making.claimed(owner)
    making.record(making.failure(claim, retryable=False))
    submitted(owner, "third")
    redrive(owner, second.pk, actor="user:test", reason="again", allow_failed=True)
    places.grant([second.pk])
    assert (making.reread(second).status, second.due_at, claimed_keys(owner)) == ("QUEUED", None, ["third"])
    end("third")
    assert claimed_keys(owner) == ["second"]


def test_an_execution_takes_no_place_before_its_time(owner: Tenant) -> None:
    limited(owner, limit=1)
    [later] = submitted(owner, "later", start=Start(now() + HOUR))
    assert later.due_at == later.not_before
    assert "as its submission says, no earlier than" in str(Present(later).now()[0])
    submitted(owner, "now")
    assert claimed_keys(owner) == ["now"]
    end("now")
    assert places.sweep() == 0
    earlier(2 * HOUR, "later")
    assert (places.sweep(), claimed_keys(owner)) == (1, ["later"])


def test_a_submission_is_refused_if_the_release_says_so_and_leaves_nothing(owner: Tenant) -> None:
    limited(owner, limit=1, key="customer", whenFull="refuse")
    value, other = {"customer": "c-1"}, {"customer": "c-2"}
    orders = [ExecutionRequest(making.PIPELINE, *order) for order in ((value, "a"), (value, "b"), (value, "a"))]
    verdicts: list[Any] = [
        *submit_many(owner, [*orders, ExecutionRequest(making.PIPELINE, other, "c")], actor="user:x")
    ]
    assert isinstance(verdicts[1], ConcurrencyLimitReached)
    assert "customer=c-1" in verdicts[1].detail
    assert [verdict.duplicate for verdict in (verdicts[0], *verdicts[2:])] == [False, True, False]
    assert sorted(claimed_keys(owner)) == ["a", "c"]
    cancelled = cancel(owner, verdicts[0].execution_id, actor="user:test", reason="r")
    assert making.submitted(owner, "b", value).execution.due_at is not None
    copy = resubmit(owner, cancelled.pk, actor="user:test", reason="again")
    assert copy.due_at is None, "a resubmission waits"


def test_the_limit_of_the_release_of_the_next_one_counts_for_all_releases(owner: Tenant) -> None:
    limited(owner, limit=3)
    submitted(owner, "a", "b")
    limited(owner, "2.0", limit=2)
    submitted(owner, "c")
    assert sorted(claimed_keys(owner)) == ["a", "b"]
    limited(owner, "3.0", limit=3)
    submitted(owner, "d")
    assert claimed_keys(owner) == [], "nobody overtakes"
    end("a")
    assert claimed_keys(owner) == ["c", "d"], "two are enough for c, and three for d"


DUE = "next_due_at = now()"
RUNNING = (
    "status = 'RUNNING', version = version + 1, event_count = event_count + 1, lease_owner = 'x',"
    " lease_protocol = 'celery', lease_token = gen_random_uuid(), lease_expires_at = now()"
)


@cases(
    ("rules", "change", "constraint"),
    ({"limit": 1}, DUE, "place"),
    ({"limit": 1}, RUNNING, "place"),
    ({"rate": {"limit": 1, "seconds": 9}}, DUE, "rate"),
)
def test_the_database_gives_no_place_and_no_start_too_many(
    owner: Tenant, rules: dict[str, Any], change: str, constraint: str
) -> None:
    limited(owner, **rules)
    submitted(owner, "a", "b")
    with pytest.raises(IntegrityError, match=f"execution_{constraint}_free|{constraint}"), transaction.atomic():
        run(f"UPDATE executions_execution SET {change} WHERE execution_key = 'b'")


def test_new_and_ended_executions_with_a_key_send_a_wakeup(owner: Tenant, broker: Broker) -> None:
    limited(owner, limit=1)
    assert names(broker.after(lambda: making.submitted(owner, "a", {"n": 1}))).count(GRANT_TASK) == 1
    first = Execution.objects.get()
    places.grant([first.pk])
    assert GRANT_TASK in names(broker.after(lambda: cancel(owner, first.pk, actor="user:test", reason="r")))
    limited(owner, "2.0", debounceSeconds=2)
    late = making.execution(owner, "b")
    sent = names(broker.after(lambda: places.grant([late.pk])))
    assert sent == [f"{places.GRANT_DUE_TASK} later"], "for the time at which it may start"


@cases(
    ("declared", "wrong"),
    ({"limit": 1}, ""),
    ({"limit": MOST, "key": "a.b", "whenFull": "refuse"}, ""),
    ({"rate": {"limit": 1, "seconds": 60}}, ""),
    ({"debounceSeconds": 60, "key": "a"}, ""),
    ({"rate": {"limit": 1}}, "rate"),
    ({"rate": {"limit": 1, "seconds": 0.5}}, "rate"),
    ({"rate": {"limit": MOST + 1, "seconds": 1}}, "rate"),
    ({"debounceSeconds": 0}, "debounceSeconds"),
    ({"debounceSeconds": 1, "whenFull": "refuse"}, "debounceSeconds"),
    ({"limit": 0}, "limit"),
    ({"limit": True}, "limit"),
    ({"key": "a"}, "limit"),
    ({"limit": 1, "key": "a."}, "key"),
    ({"limit": 1, "whenFull": "drop"}, "whenFull"),
    ({"limit": 1, "per": "day"}, "'per'"),
)
def test_what_a_release_may_declare(declared: dict[str, Any], wrong: str) -> None:
    problems = [*wrong_limit(declared)]
    assert [wrong in problem for problem in problems] == ([True] if wrong else [])
    if not wrong:
        expected = ConcurrencyLimit(declared.get("key", ""), "whenFull" in declared, "debounceSeconds" in declared)
        assert limit_of(declared) == expected


@cases(
    ("path", "value", "key"),
    ("", {"a": 1}, "*"),
    ("a", {"a": "x"}, "a=x"),
    ("a.b", {"a": {"b": 7}}, "a.b=7"),
    ("a.b", {"a": None}, "a.b="),
    ("a", [1], "a="),
    ("a", {"a": 1.0}, "a=1"),
    ("a", {"a": "x" * 201}, "a=sha256:"),
    ("a", {"a": "\0"}, "a=sha256:"),
    ("a" * 300, {"a" * 300: "\U0001f600" * 200}, "a" * 300 + "=sha256:"),
)
def test_the_key_of_an_input(path: str, value: Any, key: str) -> None:
    made = ConcurrencyLimit(path, refuses=False, debounces=False).key_of(value)
    assert made == key or (key.endswith("sha256:") and made.startswith(key) and len(made) == len(key) + 64)


# --- rates and quiet times ---

MINUTE = timedelta(minutes=1)
RATE = {"limit": 2, "seconds": 60}


def test_no_more_start_in_a_period_than_the_rate_allows_even_if_they_are_claimed_late(owner: Tenant) -> None:
    limited(owner, rate=RATE, key="customer")
    third = submitted(owner, "a", "b", "c", "d")[2]
    submitted(owner, "other", customer="c-2")
    said = str(Present(third).now()[0])
    assert "at most 2 executions with the concurrency key customer=c-1 start in 60 seconds" in said
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
    copy = resubmit(owner, first.pk, actor="user:test", reason="again", allow_replaced=True)
    assert (places.grant([copy.pk]), claimed_keys(owner)) == (0, [])


def test_a_submission_beyond_the_rate_is_refused_if_the_release_says_so(owner: Tenant) -> None:
    limited(owner, rate=RATE, whenFull="refuse")
    submitted(owner, "a", "b")
    for _ in range(2):
        raised(StartRateReached, making.submitted, owner, "c", {"customer": "c-1"})
        assert claimed_keys(owner) in (["a", "b"], [])
    earlier(2 * MINUTE, "b")
    submitted(owner, "c")
    assert claimed_keys(owner) == ["c"]


@cases("priority", [1, -1])
def test_only_the_newest_of_a_burst_starts_after_a_quiet_time(owner: Tenant, priority: int) -> None:
    limited(owner, debounceSeconds=60, key="customer")
    first, _ = submitted(owner, "a", "b", start=Start(priority=priority))
    assert first.due_at is not None
    submitted(owner, "other", customer="c-2")
    [newest] = submitted(owner, "c")
    assert (making.reread(first).status, first.error_code) == ("CANCELLED", "REPLACED")
    replaced = Execution.objects.filter(error_code="REPLACED")
    newer = {row.execution_key: row.events.get(kind="REPLACED").data["executionId"] for row in replaced}
    second = Execution.objects.get(execution_key="b")
    assert newer == {"a": str(second.pk), "b": str(newest.pk)}
    assert claimed_keys(owner) == []
    earlier(2 * MINUTE, "c", "other")
    assert (places.sweep(), sorted(claimed_keys(owner))) == (2, ["c", "other"])
    [later] = submitted(owner, "d")
    end("c")
    copy = resubmit(owner, newest.pk, actor="user:test", reason="again")
    assert (places.grant([copy.pk]), claimed_keys(owner)) == (1, [copy.execution_key]), "an operator's order"
    assert making.reread(later).status == "QUEUED"


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
