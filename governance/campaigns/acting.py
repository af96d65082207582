"""The parts of campaigns that re-drive, cancel or pause: each acts on a group of items that have not changed since."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from django.db import transaction

from executions.awaits import awaits
from executions.errors import CancelRefused, ExecutionChanged, ExecutionUnknown, PauseRefused, VersionMismatch
from executions.holds import holds
from executions.lifecycle import cancellation
from executions.lifecycle import redrive as redriving
from executions.lifecycle.redrive import lock_statuses
from executions.models import TERMINAL_VALUES, Campaign, CampaignItem, Execution
from executions.state_machine import moves
from executions.workers import registry
from foundation.errors import CoordinatorError
from foundation.wakeups import wakeup
from governance.campaigns.admitting import ItemResult, record_done, record_skipped
from releases.errors import ReleaseRetired, ReleaseRevoked
from releases.states import Status as ReleaseStatus

ALREADY_PAUSED = "ALREADY_PAUSED"
"""The code of an item whose execution was paused before."""


def redrive(campaign: Campaign, chosen: Sequence[CampaignItem]) -> int:
    """Re-drive or skip each item, and record its result. Return how many were re-driven."""
    statuses = lock_statuses({item.execution.release_id for item in chosen if item.execution})
    requested: dict[int, Execution] = {}
    skipped: dict[str, list[int]] = defaultdict(list)
    for item in chosen:
        if item.execution is None:  # it was removed, because its retention period has ended
            skipped[ExecutionUnknown.code].append(item.pk)
            continue
        try:
            redriving.check(item.execution, item.expected_version, campaign.allow_failed)
            _require_runnable(campaign, item.execution, statuses)
        except CoordinatorError as refusal:
            skipped[refusal.code].append(item.pk)
        else:
            requested[item.pk] = item.execution
    moved = _moved(campaign, requested.values(), redriving.move_of)
    if moved:
        wakeup.send_once(registry.DISPATCH_TASK)
    return _record(requested, skipped, moved, ItemResult.REDRIVEN)


def _require_runnable(campaign: Campaign, execution: Execution, statuses: Mapping[int, ReleaseStatus]) -> None:
    """Raise `ReleaseRetired`, and `ReleaseRevoked` if the release was revoked after the campaign started."""
    status = statuses[execution.release_id]
    if status is ReleaseStatus.RETIRED:
        raise ReleaseRetired(f"Release {execution.release_version!r} is retired.")
    if status is ReleaseStatus.REVOKED and execution.release_id not in campaign.revoked_releases:
        raise ReleaseRevoked(f"Release {execution.release_version!r} was revoked after the campaign started.")


def cancel(campaign: Campaign, chosen: Sequence[CampaignItem]) -> int:
    """Cancel or skip each item, and record its result. Return how many were cancelled."""
    requested, skipped = _judged(chosen, CancelRefused.code)
    moved = _moved(campaign, requested.values(), cancellation.move_of)
    awaits.cancel(moved)
    for execution in requested.values():
        if execution.pk in moved:
            registry.announce_lost_lease(execution)
            transaction.on_commit(partial(cancellation.count, execution))
    return _record(requested, skipped, moved, ItemResult.CANCELLED)


def pause(campaign: Campaign, chosen: Sequence[CampaignItem]) -> int:
    """Pause or skip each item, and record its result. Return how many were paused."""
    requested, skipped = _judged(chosen, PauseRefused.code)
    for pk in [pk for pk, execution in requested.items() if execution.held]:
        del requested[pk]
        skipped[ALREADY_PAUSED].append(pk)
    paused = holds.pause_executions(list(requested.values()), actor=campaign.created_by, reason=campaign.reason)
    return _record(requested, skipped, paused, ItemResult.PAUSED)


def _moved(campaign: Campaign, executions: Collection[Execution], move_of: Callable[..., moves.Move]) -> set[uuid.UUID]:
    """Move the executions. Return the ids of those that were moved: no other process changed them first."""
    details = {"actor": campaign.created_by, "reason": campaign.reason, "campaignId": str(campaign.pk)}
    return {move.execution_id for move in moves.apply([move_of(each, **details) for each in executions])}


def _judged(chosen: Sequence[CampaignItem], refused: str) -> tuple[dict[int, Execution], dict[str, list[int]]]:
    """Return the executions that may be stopped, by item, and the items that must be skipped, by code."""
    requested: dict[int, Execution] = {}
    skipped: dict[str, list[int]] = defaultdict(list)
    for item in chosen:
        if item.execution is None:
            skipped[ExecutionUnknown.code].append(item.pk)
        elif item.execution.status in TERMINAL_VALUES:
            skipped[refused].append(item.pk)
        elif item.execution.version != item.expected_version:
            skipped[VersionMismatch.code].append(item.pk)
        else:
            requested[item.pk] = item.execution
    return requested, skipped


def _record(
    requested: dict[int, Execution],
    skipped: dict[str, list[int]],
    changed: Collection[uuid.UUID],
    result: CampaignItem.Result,
) -> int:
    """Record the results. Items whose executions were not `changed` are skipped. Return how many are not."""
    done = {pk for pk, execution in requested.items() if execution.pk in changed}
    skipped[ExecutionChanged.code] += requested.keys() - done
    record_done(done, result)
    record_skipped(skipped)
    return len(done)
