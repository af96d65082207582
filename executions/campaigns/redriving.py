"""The part of a campaign that re-drives: checks a group of items, and queues their executions again."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from executions.campaigns.admitting import ItemResult, record_done, record_skipped
from executions.errors import ExecutionChanged, ExecutionUnknown
from executions.lifecycle.redrive import check, lock_statuses, move_of
from executions.models import Campaign, CampaignItem, Execution
from executions.state_machine import moves
from executions.workers.registry import DISPATCH_TASK
from foundation.errors import CoordinatorError
from foundation.wakeups import wakeup
from releases.errors import ReleaseRetired, ReleaseRevoked
from releases.states import Status as ReleaseStatus


def redrive(campaign: Campaign, chosen: Sequence[CampaignItem]) -> int:
    """Re-drive or skip each item, and record its result. Return how many were re-driven."""
    statuses = lock_statuses({item.execution.release_id for item in chosen if item.execution})
    skipped: dict[str, list[int]] = defaultdict(list)
    requested = {}
    for item in chosen:
        if item.execution is None:  # it was removed, because its retention period has ended
            skipped[ExecutionUnknown.code].append(item.pk)
            continue
        try:
            check(item.execution, item.expected_version, campaign.allow_failed)
            _require_runnable(campaign, item.execution, statuses)
        except CoordinatorError as refusal:
            skipped[refusal.code].append(item.pk)
        else:
            requested[item.pk] = move_of(
                item.execution, actor=campaign.created_by, reason=campaign.reason, campaignId=str(campaign.pk)
            )
    moved = {move.execution_id for move in moves.apply(list(requested.values()))}
    redriven = [pk for pk, move in requested.items() if move.execution_id in moved]
    skipped[ExecutionChanged.code] += requested.keys() - set(redriven)
    record_done(redriven, ItemResult.REDRIVEN)
    record_skipped(skipped)
    if redriven:
        wakeup.send_once(DISPATCH_TASK)
    return len(redriven)


def _require_runnable(campaign: Campaign, execution: Execution, statuses: Mapping[int, ReleaseStatus]) -> None:
    """Raise `ReleaseRetired`, and `ReleaseRevoked` if the release was revoked after the campaign started."""
    status = statuses[execution.release_id]
    if status is ReleaseStatus.RETIRED:
        raise ReleaseRetired(f"Release {execution.release_version!r} is retired.")
    if status is ReleaseStatus.REVOKED and execution.release_id not in campaign.revoked_releases:
        raise ReleaseRevoked(f"Release {execution.release_version!r} was revoked after the campaign started.")
