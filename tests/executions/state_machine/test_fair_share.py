"""A pipeline or tenant with a large backlog takes no other's share of a claim."""

from collections import Counter

import pytest

from executions.models import Execution, Worker
from executions.state_machine import moves
from releases.models import Release
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db


def busy(owner: Tenant, name: str, count: int, capacity: int = 10_000) -> Release:
    """Return a release whose worker has `count` executions to run, which have been due for long."""
    release = making.active(owner, pipeline_id=name)
    making.worker(release, capacity=capacity)
    made = making.execution(owner, f"of-{name}", pipeline_id=name)
    making.copies(made, count - 1, next_due_at=making.LONG_AGO)
    return release


def claim(limit: int) -> list[moves.Claim]:
    return moves.claim(owner="dispatcher", limit=limit, lease_seconds=30)[0]


def shares(limit: int) -> Counter[tuple[str, str]]:
    return Counter((each.tenant, each.pipeline_id) for each in claim(limit))


def test_the_next_claim_includes_a_small_pipeline_of_a_tenant_with_a_large_backlog() -> None:
    owner = making.tenant()
    busy(owner, "busy", 600)
    making.worker(making.active(owner, pipeline_id="trickle"))
    for number in range(5):
        making.execution(owner, f"t{number}", pipeline_id="trickle")
        assert shares(100) == {(owner.slug, "busy"): 50, (owner.slug, "trickle"): 1}


def test_a_tenant_with_many_pipelines_gets_no_more_than_a_tenant_with_one() -> None:
    """With more releases than places, the small tenant is first, and every release is served soon."""
    many, one = making.tenant(), making.tenant()
    for number in range(8):
        busy(many, f"busy-{number}", 50)
    busy(one, "only", 200)
    found = shares(80)
    assert found.pop((one.slug, "only")) == 40
    assert list(found.values()) == [5] * 8
    found.clear()
    for _ in range(30):
        taken = shares(4)
        assert taken[one.slug, "only"] >= 1
        found += taken
    assert len(found) == 9


def test_a_slow_pipeline_is_sent_only_what_it_can_start_and_does_not_delay_a_fast_one() -> None:
    """The slow one has two places and never frees one. The fast one finishes all that it is sent."""
    owner = making.tenant()
    slow = busy(owner, "slow", 500, capacity=2)
    busy(owner, "fast", 40, capacity=2)
    Worker.objects.filter(pipeline_id="slow").update(transition_seconds=5)
    done = rounds = 0
    while done < 40:
        rounds += 1
        assert rounds <= 21
        claims = [each for each in claim(100) if each.pipeline_id == "fast"]
        done += making.record(*map(making.outcome_of, claims))
    assert Execution.objects.filter(release=slow, status="RUNNING").count() == 2
