"""A pipeline or tenant with a large backlog takes no other's share of a claim."""

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from executions.lifecycle.outcome import record
from executions.models import Execution, Worker
from executions.state_machine import moves
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
LONG_AGO = timezone.now() - timedelta(days=1)


def hosted(owner: Tenant, name: str, capacity: int = 10_000) -> Release:
    release = making.active(owner, pipeline_id=name)
    making.worker(release, capacity=capacity)
    return release


def backlog(release: Release, count: int) -> None:
    """Submit `count` executions that have been due for a day."""
    made = making.execution(release.pipeline.tenant, f"of-{release.pk}", pipeline_id=release.pipeline.pipeline_id)
    making.copies(made, count - 1, next_due_at=LONG_AGO)


def claim(limit: int) -> list[moves.Claim]:
    return moves.claim(owner="dispatcher", limit=limit, lease_seconds=30)[0]


def shares(limit: int) -> Counter[tuple[str, str]]:
    return Counter((each.tenant, each.pipeline_id) for each in claim(limit))


def test_the_next_claim_includes_a_small_pipeline_of_a_tenant_with_a_large_backlog() -> None:
    owner = making.tenant()
    backlog(hosted(owner, "busy"), 2000)
    trickle = hosted(owner, "trickle")
    for number in range(5):
        making.execution(owner, f"t{number}", pipeline_id="trickle")
        assert shares(100) == {(owner.slug, "busy"): 50, (owner.slug, "trickle"): 1}
    assert Execution.objects.filter(release=trickle, status="RUNNING").count() == 5


def test_a_tenant_with_many_pipelines_gets_no_more_than_a_tenant_with_one() -> None:
    many, one = making.tenant(), making.tenant()
    for number in range(10):
        backlog(hosted(many, f"busy-{number}"), 50)
    backlog(hosted(one, "only"), 200)
    found = shares(100)
    assert found.pop((one.slug, "only")) == 50
    assert set(found.values()) == {5}
    assert len(found) == 10


def test_with_more_releases_than_places_the_small_tenant_is_first_and_every_tenant_is_served_soon() -> None:
    many, one = making.tenant(), making.tenant()
    for number in range(8):
        backlog(hosted(many, f"busy-{number}"), 50)
    backlog(hosted(one, "only"), 100)
    found: Counter[tuple[str, str]] = Counter()
    for _ in range(30):
        taken = shares(4)
        assert taken[one.slug, "only"] >= 1
        found += taken
    assert len(found) == 9


def test_a_slow_pipeline_is_sent_only_what_it_can_start_and_does_not_delay_a_fast_one() -> None:
    """The slow one has two places and never frees one. The fast one finishes all that it is sent."""
    owner = making.tenant()
    slow, fast = hosted(owner, "slow", capacity=2), hosted(owner, "fast", capacity=2)
    Worker.objects.filter(pipeline_id="slow").update(transition_seconds=5)
    backlog(slow, 500)
    backlog(fast, 40)
    done = rounds = 0
    while done < 40:
        rounds += 1
        assert rounds <= 21
        claims = [each for each in claim(100) if each.pipeline_id == "fast"]
        outcomes = [making.outcome_of(each) for each in claims]
        done += record(fast.identity, OutcomeGroup(worker_id="w", outcomes=outcomes))
    assert Execution.objects.filter(release=slow, status="RUNNING").count() == 2
