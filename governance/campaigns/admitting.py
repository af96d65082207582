"""What running campaigns share: changes of their status, results, bounds, and the credit that the rate gives."""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow as Now
from django.db import connection, transaction
from django.db.models import F

from executions.awaits import awaits
from executions.errors import (
    CancelRefused,
    ExecutionChanged,
    ExecutionReplaced,
    ExecutionUnknown,
    PauseRefused,
    VersionMismatch,
)
from executions.holds import holds
from executions.lifecycle import interventions, replacements
from executions.lifecycle.interventions import lock_statuses
from executions.models import TERMINAL_VALUES, Campaign, CampaignItem, Execution
from executions.state_machine import moves
from executions.workers import registry
from foundation import wakeup
from foundation.errors import CoordinatorError
from governance.campaigns import statements
from releases.errors import ReleaseRetired, ReleaseRevoked
from releases.states import Status as ReleaseStatus
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

Cause = Campaign.Cause
Status = Campaign.Status
ItemResult = CampaignItem.Result
COORDINATOR = "coordinator"
"""The actor of what no person did."""


def change(
    tenant: Tenant,
    campaign_id: uuid.UUID,
    sources: Collection[str],
    status: str,
    event: str,
    actor: str,
    data: dict[str, Any],
    changes: str = "",
    **values: Any,
) -> bool:
    """Set the status of a campaign that has one of the statuses `sources`, and record the event.

    `changes` is a constant of `statements` that sets more columns to `values`. Returns False if nothing changed:
    another process or person was first.
    """
    parameters = {
        "campaign": campaign_id,
        "tenant": tenant.pk,
        "sources": list(sources),
        "status": status,
        "event": event,
        "actor": actor,
        "data": json.dumps(data),
        **values,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.CHANGE.format(changes=changes), parameters)
        return bool(cursor.rowcount)


def record(act: Act, tenant: Tenant, campaign_id: uuid.UUID, actor: str, reason: str, **details: Any) -> None:
    """Record an act on a campaign in the audit log. Call this last in the transaction."""
    audit.record(act, tenant=tenant, actor=actor, object=campaign_id, reason=reason, **details)


@dataclass(frozen=True, slots=True)
class Results:
    """How many executions that a campaign re-drove or resubmitted have each status now.

    `running` counts those that are due or running, `waiting` those that wait for an answer. `removed` counts those that
    retention has removed since. `unaccepted` counts those that failed again and that no resume has accepted.
    """

    running: int = 0
    waiting: int = 0
    succeeded: int = 0
    failed_again: int = 0
    cancelled: int = 0
    removed: int = 0
    unaccepted: int = 0

    @property
    def total(self) -> int:
        return self.running + self.waiting + self.succeeded + self.failed_again + self.cancelled + self.removed


def results(campaign_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Results]:
    """Return the results of each campaign."""
    with connection.cursor() as cursor:
        cursor.execute(statements.RESULTS, [list(campaign_ids)])
        found = {campaign_id: Results(*counts) for campaign_id, *counts in cursor.fetchall()}
    return {campaign_id: found.get(campaign_id, Results()) for campaign_id in campaign_ids}


def results_of(campaign_id: uuid.UUID) -> Results:
    return results([campaign_id])[campaign_id]


def _admissible(campaign: Campaign, credit: int) -> int | None:
    """Return how many items may be admitted now, at most `credit`. The caller has locked the running campaign.

    While the canary runs, that is what is left of it. It ends when all of it have ended or wait for an answer. Returns
    None if the campaign has paused itself, because an execution of its canary failed again, or as many executions as it
    stops after.
    """
    waits = campaign.canary is not None and not campaign.canary_over
    if not waits and campaign.stop_after_failures is None:
        return credit
    results = results_of(campaign.pk)
    if waits and results.unaccepted:
        _pause(campaign, Cause.CANARY, results)
        return None
    if campaign.stop_after_failures is not None and results.unaccepted >= campaign.stop_after_failures:
        _pause(campaign, Cause.FAILURES, results)
        return None
    if not waits:
        return credit
    left = (campaign.canary or 0) - results.total
    if left > 0:
        return min(credit, left)
    if not results.running:
        _change(campaign, Status.RUNNING, "CANARY_PASSED", {"executions": results.total}, statements.END_CANARY)
    return 0


def _pause(campaign: Campaign, cause: Cause, results: Results) -> None:
    details = {"cause": cause.value, "failedAgain": results.failed_again}
    if _change(campaign, Status.PAUSED, "PAUSED", details, statements.PAUSE, cause=cause.value):
        record(Act.CAMPAIGN_PAUSE, campaign.tenant, campaign.pk, COORDINATOR, "", **details)


def _change(
    running: Campaign, status: Campaign.Status, event: str, data: dict[str, Any], changes: str, **values: Any
) -> bool:
    return change(running.tenant, running.pk, {Status.RUNNING}, status, event, COORDINATOR, data, changes, **values)


def credit_of(campaign_id: uuid.UUID) -> tuple[Campaign | None, int]:
    """Return the locked campaign and how many items it may admit.

    Returns None if it is not running or is locked already, and if it has paused itself now.
    """
    window = max(60.0, 2 * settings.SWEEP_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(statements.CREDIT, {"id": campaign_id, "window": window})
        row = cursor.fetchone()
    if row is None:
        return None, 0
    campaign = Campaign.objects.select_related("tenant").get(pk=campaign_id)
    credit = _admissible(campaign, row[0])
    return (None, 0) if credit is None else (campaign, credit)


def record_skipped(skipped: dict[str, list[int]]) -> None:
    """Record the keys of skipped items by their code."""
    for code, keys in skipped.items():
        CampaignItem.objects.filter(pk__in=keys).update(outcome=ItemResult.SKIPPED, code=code, at=Now())


def record_resubmitted(campaign: Campaign, keys: Collection[int]) -> None:
    """Record the new execution of each of these items. The links of the campaign name them."""
    with connection.cursor() as cursor:
        cursor.execute(statements.RECORD_RESUBMITTED, {"campaign": campaign.pk, "items": list(keys)})


def record_admitted(campaign: Campaign, count: int) -> None:
    """Use `count` items of the credit, and complete the campaign if no item is pending."""
    Campaign.objects.filter(pk=campaign.pk).update(admitted=F("admitted") + count)
    if not CampaignItem.objects.filter(campaign=campaign, outcome=ItemResult.PENDING).exists():
        _change(campaign, Status.COMPLETED, "COMPLETED", {}, statements.FINISH)


ALREADY_PAUSED = "ALREADY_PAUSED"
"""The code of an item whose execution was paused before."""


def redrive(campaign: Campaign, chosen: Sequence[CampaignItem]) -> int:
    """Re-drive or skip each item, and record its result. Return how many were re-driven.

    An item is skipped if another execution carries on its work. Of items that may have the same work, the first one is
    decided. The others stay pending, and are decided after it.
    """
    statuses = lock_statuses({item.execution.release_id for item in chosen if item.execution})
    first = replacements.first_of_each([item.execution.pk for item in chosen if item.execution])
    requested: dict[int, Execution] = {}
    skipped: dict[str, list[int]] = defaultdict(list)
    for item in chosen:
        if item.execution is None:  # it was removed, because its retention period has ended
            skipped[ExecutionUnknown.code].append(item.pk)
            continue
        if item.execution.pk not in first:
            continue
        try:
            interventions.require_redrivable(item.execution, item.expected_version, campaign.allow_failed)
            _require_runnable(campaign, item.execution, statuses)
        except CoordinatorError as refusal:
            skipped[refusal.code].append(item.pk)
        else:
            requested[item.pk] = item.execution
    moved = _moved(campaign, requested.values(), interventions.redrive_move)
    if left := {execution.pk for execution in requested.values()} - moved:
        replaced = replacements.replaced_among(left)
        for pk in [pk for pk, execution in requested.items() if execution.pk in replaced]:
            del requested[pk]
            skipped[ExecutionReplaced.code].append(pk)
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
    moved = _moved(campaign, requested.values(), interventions.cancel_move)
    awaits.cancel(moved)
    for execution in requested.values():
        if execution.pk in moved:
            registry.announce_lost_lease(execution)
            transaction.on_commit(partial(interventions.count_cancelled, execution))
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
    return {move.execution_id for move in moves.apply([move_of(execution, **details) for execution in executions])}


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
    CampaignItem.objects.filter(pk__in=done).update(outcome=result, at=Now())
    record_skipped(skipped)
    return len(done)
