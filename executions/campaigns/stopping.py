"""The parts of campaigns that cancel or pause: each acts on a group of items that have not changed since."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from django.db import transaction

from executions.awaits import awaits
from executions.campaigns.admitting import ItemResult, record_done, record_skipped
from executions.errors import CancelRefused, ExecutionChanged, ExecutionUnknown, PauseRefused, VersionMismatch
from executions.holds import holds
from executions.lifecycle import cancellation
from executions.models import TERMINAL_VALUES, Campaign, CampaignItem, Execution
from executions.state_machine import moves
from executions.workers import registry

ALREADY_PAUSED = "ALREADY_PAUSED"
"""The code of an item whose execution was paused before."""


def cancel(campaign: Campaign, chosen: Sequence[CampaignItem]) -> int:
    """Cancel or skip each item, and record its result. Return how many were cancelled."""
    requested, skipped = _judged(chosen, CancelRefused.code)
    made = {
        pk: cancellation.move_of(
            execution, actor=campaign.created_by, reason=campaign.reason, campaignId=str(campaign.pk)
        )
        for pk, execution in requested.items()
    }
    moved = {move.execution_id for move in moves.apply(list(made.values()))}
    awaits.cancel(moved)
    for execution in requested.values():
        if execution.pk in moved:
            registry.announce_lost_lease(execution)
            transaction.on_commit(partial(cancellation.count, execution))
    return _record(requested, skipped, {pk for pk, each in requested.items() if each.pk in moved}, ItemResult.CANCELLED)


def pause(campaign: Campaign, chosen: Sequence[CampaignItem]) -> int:
    """Pause or skip each item, and record its result. Return how many were paused."""
    requested, skipped = _judged(chosen, PauseRefused.code)
    for pk in [pk for pk, execution in requested.items() if execution.held]:
        del requested[pk]
        skipped[ALREADY_PAUSED].append(pk)
    paused = holds.pause_executions(list(requested.values()), actor=campaign.created_by, reason=campaign.reason)
    return _record(requested, skipped, {pk for pk, each in requested.items() if each.pk in paused}, ItemResult.PAUSED)


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
    requested: dict[int, Execution], skipped: dict[str, list[int]], done: set[int], result: CampaignItem.Result
) -> int:
    """Record the results. Items that another process changed just now are skipped. Return how many are not."""
    skipped[ExecutionChanged.code] += requested.keys() - done
    record_done(done, result)
    record_skipped(skipped)
    return len(done)
