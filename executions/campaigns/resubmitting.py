"""Advances a campaign that resubmits.

The items are checked outside of a transaction, because the checks of a release may call the artifact store. One
transaction then writes the new executions and the results of their items. So a process that dies leaves no item without
its execution and no execution without its item.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from executions.campaigns.admitting import (
    ItemResult,
    credit_of,
    record_admitted,
    record_resubmitted,
    record_skipped,
)
from executions.errors import ExecutionChanged, ExecutionUnknown
from executions.models import Campaign, CampaignItem, Execution, Resubmission, StartFrom
from executions.submission import resubmission
from executions.submission.admission import Admission
from executions.submission.resubmission import Plan
from foundation.errors import CoordinatorError

GROUP = 100
"""The most items that one transaction admits. Their inputs are in memory at the same time."""
ALREADY_RESUBMITTED = "ALREADY_RESUBMITTED"
"""The code of an item whose failure was resubmitted before, by a person or another campaign."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """An item with its plan, or with the code of the reason why it is skipped."""

    item: CampaignItem
    verdict: Plan | str


def advance(campaign_id: uuid.UUID) -> int:
    """Admit items until the credit is used up. Return how many executions were resubmitted.

    Items wait, and use no credit, while no worker hosts their target release or the artifact store is unavailable.
    """
    resubmitted = 0
    while True:
        with transaction.atomic():
            campaign, credit = credit_of(campaign_id)
        if campaign is None or credit < 1:
            return resubmitted
        checked = _check(campaign, min(credit, GROUP))
        with transaction.atomic():
            campaign, credit = credit_of(campaign_id)
            if campaign is None:
                return resubmitted
            admitted, count = _admit(campaign, checked[: max(credit, 0)])
        resubmitted += count
        if not admitted or credit <= GROUP:
            return resubmitted


def _check(campaign: Campaign, most: int) -> list[_Checked]:
    """Check the first `most` pending items. Items that must wait are not among the result."""
    rows = CampaignItem.objects.filter(campaign=campaign, outcome=ItemResult.PENDING)
    rows = rows.select_related("execution__tenant", "execution__release__contract", "execution__wire_form")
    targets: dict[str, Admission | CoordinatorError] = {}
    checked = []
    unread = ["execution__result"] if campaign.continues else ["execution__result", "execution__progress"]
    for item in rows.defer(*unread).order_by("id")[:most]:
        try:
            checked.append(_Checked(item, _plan(campaign, item, targets)))
        except CoordinatorError as refusal:
            if refusal.status != 503:
                checked.append(_Checked(item, refusal.code))
    return checked


def _plan(campaign: Campaign, item: CampaignItem, targets: dict[str, Admission | CoordinatorError]) -> Plan:
    old = item.execution
    if old is None:  # it was removed, because its retention period has ended
        raise ExecutionUnknown(f"There is no execution {item.execution_id}.")
    resubmission.check(old, item.expected_version)
    if old.pipeline_id not in targets:
        targets[old.pipeline_id] = _target(campaign, old)
    target = targets[old.pipeline_id]
    if isinstance(target, CoordinatorError):
        raise target
    return resubmission.plan(
        old,
        target,
        operation_key=f"campaign:{campaign.pk}",
        actor=campaign.created_by,
        reason=campaign.reason,
        start_from=StartFrom(campaign.start_from),
        campaign=campaign.pk,
    )


def _target(campaign: Campaign, old: Execution) -> Admission | CoordinatorError:
    """Return the release that the pipeline of `old` runs the campaign's items on, or why it runs on no release."""
    try:
        admitted = resubmission.target(old, campaign.target_release_version or None)
        admitted.require_runnable()
    except CoordinatorError as refusal:
        return refusal
    return admitted


def _admit(campaign: Campaign, checked: Sequence[_Checked]) -> tuple[int, int]:
    """Write the new executions and the results of the items. Return how many items have one, and how many executions.

    Items that have a result meanwhile are left out, and so are those whose target release changed: they are checked
    again.
    """
    pending = set(
        CampaignItem.objects.filter(pk__in=[each.item.pk for each in checked], outcome=ItemResult.PENDING).values_list(
            "pk", flat=True
        )
    )
    left = [each for each in checked if each.item.pk in pending]
    plans = {each.item.pk: each.verdict for each in left if isinstance(each.verdict, Plan)}
    current = resubmission.lock_if_current([plan.admission for plan in plans.values()])
    plans = {pk: plan for pk, plan in plans.items() if plan.admission.release.pk in current}
    written = resubmission.write(list(plans.values()))
    resubmitted = [pk for pk, plan in plans.items() if plan.id in written]
    skipped: dict[str, list[int]] = defaultdict(list)
    for each in left:
        if isinstance(each.verdict, str):
            skipped[each.verdict].append(each.item.pk)
    for pk in plans.keys() - set(resubmitted):
        skipped[_why_not(plans[pk])].append(pk)
    record_resubmitted(campaign, resubmitted)
    record_skipped(skipped)
    admitted = len(resubmitted) + sum(map(len, skipped.values()))
    record_admitted(campaign, admitted)
    return admitted, len(resubmitted)


def _why_not(plan: Plan) -> str:
    """Return the code of a plan that was not written."""
    earlier = Resubmission.objects.filter(execution=plan.old, execution_version=plan.old.version)
    return ALREADY_RESUBMITTED if earlier.exists() else ExecutionChanged.code
