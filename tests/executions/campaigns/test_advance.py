"""The sweep advances campaigns at their rates, and skips items that cannot be re-driven."""

from datetime import UTC, datetime
from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, Execution
from executions.tasks import sweep
from tenancy.models import Tenant
from tests import making
from tests.executions.campaigns.campaigning import (
    advance,
    codes,
    events,
    everything,
    pass_time,
    progress,
    record,
    start,
)
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db


def test_items_are_admitted_at_the_rate_and_the_last_one_completes_the_campaign(
    owner: Tenant, dead: list[Execution]
) -> None:
    made = start(owner, rate=60)
    for seconds, count, state in (
        (0, 0, (10, 0, 0)),
        (3.9, 3, (7, 3, 0)),
        (0, 0, (7, 3, 0)),
        (0.1, 1, (6, 4, 0)),
        (60, 6, (0, 10, 0)),
    ):
        assert (advance(seconds), progress(made)) == (count, state)
    made.refresh_from_db()
    assert made.status == "COMPLETED"
    assert made.finished_at is not None
    assert events(made) == [("STARTED", "user:ann"), ("COMPLETED", "coordinator")]
    before = everything()
    assert campaigns.advance() == 0
    assert everything() == before
    for execution in dead:
        assert making.history(execution)[-1] == ("REDRIVEN", "QUEUED")
        event = execution.events.get(kind="REDRIVEN")
        assert event.actor == "user:ann"
        assert (event.data["reason"], event.data["campaignId"]) == ("the bank is back", str(made.pk))
        assert (execution.attempt, execution.budget_start, execution.release_version) == (1, 1, "1.0")
        assert execution.last_transition_key == f"redrive:{execution.pk}:2"
    assert {claim.execution_id for claim in making.claimed(owner)} == {execution.pk for execution in dead}


def test_a_sweep_advances_a_campaign_in_groups_until_its_credit_is_used_up(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_LIMIT = 4
    made = start(owner)
    pass_time(60)
    sweep()
    assert progress(made) == (0, 10, 0)


def test_an_outage_accumulates_at_most_one_minute_of_credit(owner: Tenant) -> None:
    made = start(owner, rate=3)
    assert advance(20) == 1
    assert (advance(24 * 3600), progress(made)) == (3, (6, 4, 0))
    assert campaigns.advance() == 0
    assert (advance(20), progress(made)) == (1, (5, 5, 0))


def test_sweeps_that_are_far_apart_admit_at_the_full_rate(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_SECONDS = 120
    start(owner, rate=3)
    assert advance(120) == 6


def test_a_pause_accumulates_no_credit(owner: Tenant) -> None:
    made = start(owner, rate=60)
    assert advance(2) == 2
    campaigns.pause(owner, made.pk, actor="user:bob", reason="the bank is down again")
    assert (advance(60), progress(made)) == (0, (8, 2, 0))
    campaigns.resume(owner, made.pk, actor="user:bob")
    assert (campaigns.advance(), progress(made)) == (0, (8, 2, 0))
    assert (advance(2), progress(made)) == (2, (6, 4, 0))
    assert events(made) == [("STARTED", "user:ann"), ("PAUSED", "user:bob"), ("RESUMED", "user:bob")]
    assert made.events.get(kind="PAUSED").data == {"reason": "the bank is down again"}


def test_concurrent_campaigns_each_have_their_own_rate(quiet: Tenant) -> None:
    for code in "AB":
        making.dead(quiet, *[f"{code}{number}" for number in range(5)], code=code)
    slow, quick = start(quiet, Filters(error_code="A"), rate=30), start(quiet, Filters(error_code="B"), rate=60)
    assert advance(4) == 6
    assert (progress(slow), progress(quick)) == ((3, 2, 0), (1, 4, 0))
    assert advance(1) == 1
    slow.refresh_from_db()
    quick.refresh_from_db()
    assert (slow.status, quick.status) == ("RUNNING", "COMPLETED")


def test_executions_that_failed_first_are_redriven_first(quiet: Tenant) -> None:
    [_, oldest, _] = sorted(making.dead(quiet, *"abc"), key=lambda each: each.pk)
    making.finished(datetime(2026, 1, 1, tzinfo=UTC), oldest)
    made = start(quiet)
    assert campaigns.items(made)[0].execution == oldest
    assert advance(1) == 1
    assert made.items.get(outcome="REDRIVEN").execution == oldest


# --- skipped items ---


def test_items_that_have_changed_are_skipped_with_a_reason(owner: Tenant, dead: list[Execution]) -> None:
    def changed_rows() -> list[Any]:
        return list(Execution.objects.filter(pk__in=[each.pk for each in dead[:3]]).order_by("pk").values())

    by_hand, failed_again, done, *_ = dead
    made = start(owner)
    for execution in (failed_again, done):
        redrive(owner, execution.pk, actor="", reason="")
    for claim in making.claimed(owner):
        again = claim.execution_id == failed_again.pk
        record(making.failure(claim) if again else making.outcome_of(claim))
    redrive(owner, by_hand.pk, actor="", reason="")
    before = changed_rows()
    assert (advance(), progress(made)) == (7, (0, 7, 3))
    refused = {by_hand.pk: "REDRIVE_REFUSED", failed_again.pk: "VERSION_MISMATCH", done.pk: "REDRIVE_REFUSED"}
    assert codes(made) == refused
    assert not made.items.filter(at=None).exists()
    assert changed_rows() == before


def test_skipped_items_count_against_the_rate(owner: Tenant) -> None:
    made = start(owner)
    for item in campaigns.items(made)[:2]:
        assert item.execution is not None
        redrive(owner, item.execution.pk, actor="", reason="")
    assert (advance(2), progress(made)) == (0, (8, 0, 2))
    assert (campaigns.advance(), progress(made)) == (0, (8, 0, 2))


def test_items_that_have_become_failed_are_skipped_unless_allowed(quiet: Tenant) -> None:
    making.dead(quiet, "failed", retryable=False)
    made = start(quiet, allow_failed=True)
    with unguarded(Campaign):
        Campaign.objects.update(allow_failed=False)
    assert (advance(), progress(made)) == (0, (0, 0, 1))
    assert made.items.get().code == "REDRIVE_REFUSED"
