"""The parts of an execution, derived from its events: limits, and events that no worker reported."""

from datetime import UTC, datetime, timedelta
from typing import Any

from wire.documents.execution_runs import Event, runs_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
PINNED = frozenset({"sha256:" + "a" * 64})


def event(sequence: int, kind: str, status: str, **data: Any) -> Event:
    return Event(sequence, kind, status, NOW + timedelta(seconds=sequence), data)


def claim(sequence: int, step: int = 0, attempt: int = 0) -> Event:
    return event(sequence, "CLAIMED", "RUNNING", stepIndex=step, attempt=attempt)


def outcomes(*events: Event) -> list[str]:
    return [entry["outcome"] for entry in runs_of(events, PINNED, None).entries]


def test_only_a_claimed_part_can_be_lost_and_what_the_coordinator_failed_is_no_part() -> None:
    assert outcomes(event(1, "CANCELLED", "CANCELLED")) == []
    assert outcomes(claim(1), event(2, "CANCELLED", "CANCELLED")) == ["CANCELLED"]
    assert outcomes(claim(1), event(2, "RELEASE_REVOKED", "FAILED")) == ["RELEASE_REVOKED"]
    assert outcomes(claim(1), event(2, "DISPATCH_FAILED", "QUEUED"), event(3, "CANCELLED", "CANCELLED")) == []
    assert outcomes(claim(1), event(2, "FAILED", "FAILED", errorCode="PAYLOAD_TOO_LARGE")) == []
    assert outcomes(claim(1), event(2, "LEASES_LOST", "DLQ", leaseOwner="w")) == ["LEASES_LOST"]


def test_a_lease_that_comes_back_ends_the_claim_that_followed_and_continues_its_own() -> None:
    expired, restored = event(2, "LEASE_EXPIRED", "QUEUED"), event(4, "LEASE_RESTORED", "RUNNING")
    done = event(5, "SUCCEEDED", "SUCCEEDED", worker="w", attempt=0)
    assert outcomes(claim(1), expired, restored, done) == ["LEASE_EXPIRED", "SUCCEEDED"]
    found = runs_of([claim(1, step=2), expired, claim(3), restored, done], PINNED, None).entries
    assert [entry["outcome"] for entry in found] == ["LEASE_EXPIRED", "LEASE_RESTORED", "SUCCEEDED"]
    assert [entry["firstStepIndex"] for entry in found] == [2, 0, 2]
