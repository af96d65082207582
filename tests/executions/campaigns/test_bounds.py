"""A campaign says how its executions ended, waits for its canary, and pauses itself when too many fail again."""

import pytest

from executions.campaigns import campaigns
from executions.campaigns.results import Results, results_of
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, Execution
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.executions.campaigns.campaigning import advance, events, everything, progress, record, start

pytestmark = pytest.mark.django_db


def let_end(owner: Tenant, *, failures: int = 0, suspended: int = 0) -> None:
    """End all due executions: the first with failures, the next by waiting for an answer, the others with success."""
    for number, claim in enumerate(making.claimed(owner)):
        if number < failures:
            record(making.failure(claim, retryable=False))
        elif number < failures + suspended:
            record(making.suspension(claim))
        else:
            record(making.outcome_of(claim))


def state(campaign: Campaign) -> tuple[str, str, bool]:
    campaign.refresh_from_db()
    return campaign.status, campaign.cause, campaign.canary_over


def test_a_campaign_says_what_became_of_its_executions(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    assert results_of(made.pk) == Results()
    advance()
    assert results_of(made.pk) == Results(running=10)
    cancel(owner, dead[9].pk, actor="user:ann", reason="")
    let_end(owner, failures=3, suspended=2)
    assert results_of(made.pk) == Results(waiting=2, succeeded=4, failed_again=3, cancelled=1)
    assert state(made)[0] == "COMPLETED"
    failed = campaigns.failed_again(campaigns.items(made))
    assert {item.execution.status for item in failed if item.execution} == {"FAILED"}
    assert failed.count() == 3


def test_the_others_follow_when_the_canary_has_ended_without_a_failure(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, canary=3)
    assert (advance(), progress(made)) == (3, (7, 3, 0))
    assert (advance(), state(made)) == (0, ("RUNNING", "", False))
    let_end(owner, suspended=1)
    assert (advance(), progress(made), state(made)) == (0, (7, 3, 0), ("RUNNING", "", True))
    assert events(made)[-1] == ("CANARY_PASSED", "coordinator")
    assert (advance(), progress(made)) == (7, (0, 10, 0))
    assert [kind for kind, _ in events(made)] == ["STARTED", "CANARY_PASSED", "COMPLETED"]


def test_skipped_items_are_not_part_of_the_canary(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, canary=3)
    first = campaigns.items(made)[0].execution
    assert first is not None
    redrive(owner, first.pk, actor="user:ann", reason="by hand")
    assert (advance(), progress(made)) == (2, (7, 2, 1))
    assert (advance(), progress(made)) == (1, (6, 3, 1))
    assert (advance(), progress(made)) == (0, (6, 3, 1))


def test_a_campaign_pauses_itself_when_its_canary_fails(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, canary=3, stop_after_failures=5)
    advance()
    let_end(owner, failures=1)
    assert (advance(), progress(made), state(made)) == (0, (7, 3, 0), ("PAUSED", "canary", False))
    assert events(made)[-1] == ("PAUSED", "coordinator")
    assert made.events.get(kind="PAUSED").data == {"cause": "canary", "failedAgain": 1}
    entry = AuditEntry.objects.latest("pk")
    assert (entry.act, entry.actor, entry.object) == ("campaign.pause", "coordinator", str(made.pk))
    before = everything()
    assert advance() == 0
    assert everything()[3:] == before[3:]
    campaigns.resume(owner, made.pk, actor="user:bob")
    assert (advance(), state(made)) == (7, ("COMPLETED", "", True))


def test_a_campaign_pauses_itself_after_so_many_failures(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, stop_after_failures=2)
    assert advance(4) == 4
    let_end(owner, failures=1)
    assert (advance(1), state(made)) == (1, ("RUNNING", "", False))
    let_end(owner, failures=1)
    assert (advance(), state(made)) == (0, ("PAUSED", "failures", False))
    assert made.events.get(kind="PAUSED").data == {"cause": "failures", "failedAgain": 2}
    campaigns.resume(owner, made.pk, actor="user:bob", reason="these two are known")
    assert (advance(1), state(made)) == (1, ("RUNNING", "", False))
    assert made.failures_accepted == 2
    let_end(owner, failures=1)
    assert advance(1) == 1
    let_end(owner, failures=1)
    assert (advance(), state(made)) == (0, ("PAUSED", "failures", False))
    assert made.failures_accepted == 2
    campaigns.cancel(owner, made.pk, actor="user:bob")
    assert (state(made), progress(made)) == (("CANCELLED", "", False), (0, 7, 3))
