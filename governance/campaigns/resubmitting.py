"""Advances a campaign that resubmits.

The items are checked outside of a transaction, because the checks of a release may call the artifact store. One
transaction then writes the new executions and the results of their items. So a process that dies leaves no item without
its execution and no execution without its item.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeGuard

from django.db import transaction
from django.db.models import QuerySet

from executions.errors import ExecutionChanged, ExecutionReplaced, ExecutionUnknown, ReleaseNotAdmitted
from executions.lifecycle import replacements
from executions.models import Campaign, CampaignItem, StartFrom
from executions.submission.admission import Admission
from foundation.errors import CoordinatorError
from governance.campaigns import admitting
from governance.resubmission import resubmission
from governance.resubmission.resubmission import Plan
from releases.errors import ReleaseUnknown

GROUP = 100
"""The most items that one transaction admits. Their inputs are in memory at the same time."""
PIPELINES_SHOWN = 20
"""The most pipelines of a campaign whose items wait that a page or a response lists."""

_Verdict = tuple[CampaignItem, Plan | str]
"""An item with its plan, or with the code of the reason why it is skipped."""


def advance(campaign_id: uuid.UUID) -> int:
    """Admit items until the credit is used up. Return how many executions were resubmitted.

    Items wait, and use no credit, while the target release of their pipeline accepts no executions: see `waiting`.
    """
    resubmitted = 0
    while True:
        with transaction.atomic():
            campaign, credit = admitting.credit_of(campaign_id)
        if campaign is None or credit < 1:
            return resubmitted
        checked = _check(campaign, min(credit, GROUP))
        with transaction.atomic():
            campaign, credit = admitting.credit_of(campaign_id)
            if campaign is None:
                return resubmitted
            admitted, count = _admit(campaign, checked[: max(credit, 0)])
        resubmitted += count
        if not admitted or credit <= GROUP:
            return resubmitted


def waiting(campaign: Campaign) -> dict[str, CoordinatorError]:
    """Return why pending items wait, by their pipelines: at most PIPELINES_SHOWN of these.

    An item waits if its target release accepts no executions, for a reason that may pass: for example, the pipeline is
    paused, the active release is revoked, or no worker hosts it.
    """
    if campaign.kind != Campaign.Kind.RESUBMIT or campaign.status != admitting.Status.RUNNING:
        return {}
    rows = _pending(campaign).exclude(execution=None).values_list("execution__pipeline_id", flat=True)
    if _has_one_pipeline(campaign):
        rows = rows.order_by("id")[:1]
    else:
        rows = rows.order_by("execution__pipeline_id").distinct()[:PIPELINES_SHOWN]
    targets = {pipeline_id: _target(campaign, pipeline_id) for pipeline_id in rows}
    return {pipeline_id: target for pipeline_id, target in targets.items() if _may_pass(target)}


def _check(campaign: Campaign, most: int) -> list[_Verdict]:
    """Check the first `most` pending items that need not wait."""
    unread = ["execution__result"] if campaign.continues else ["execution__result", "execution__progress"]
    rows = _pending(campaign).defer(*unread).order_by("id")
    rows = rows.select_related("execution__tenant", "execution__release__contract", "execution__wire_form")
    targets: dict[str, Admission | CoordinatorError] = {}
    checked: list[_Verdict] = []
    last, left = 0, most
    while left:
        waits = [pipeline_id for pipeline_id, target in targets.items() if _may_pass(target)]
        due = list(rows.filter(pk__gt=last).exclude(execution__pipeline_id__in=waits)[:left])
        judged = [(item, _judge(campaign, item, targets)) for item in due]
        checked += [(item, verdict) for item, verdict in judged if verdict is not None]
        last = due[-1].pk if due else last
        # Others take the places of the items that must wait, unless these were the last ones.
        left = 0 if len(due) < left or _has_one_pipeline(campaign) else most - len(checked)
    return checked


def _has_one_pipeline(campaign: Campaign) -> bool:
    """True if the filters name a pipeline or a failure group, so that all pending items wait, or none."""
    return not campaign.filters.keys().isdisjoint(("pipelineId", "failureGroup"))


def _pending(campaign: Campaign) -> QuerySet[CampaignItem]:
    return CampaignItem.objects.filter(campaign=campaign, outcome=admitting.ItemResult.PENDING)


def _judge(
    campaign: Campaign, item: CampaignItem, targets: dict[str, Admission | CoordinatorError]
) -> Plan | str | None:
    """Return the plan of an item, or the code of the reason why it is skipped. Return None if it must wait."""
    old = item.execution
    if old is None:  # it was removed, because its retention period has ended
        return ExecutionUnknown.code
    try:
        resubmission.check(old, item.expected_version)
        if old.pipeline_id not in targets:
            targets[old.pipeline_id] = _target(campaign, old.pipeline_id)
        target = targets[old.pipeline_id]
        if isinstance(target, CoordinatorError):
            return None if _may_pass(target) else target.code
        return resubmission.plan(
            old,
            target,
            operation_key=f"campaign:{campaign.pk}",
            actor=campaign.created_by,
            reason=campaign.reason,
            start_from=StartFrom(campaign.start_from),
            campaign=campaign.pk,
        )
    except CoordinatorError as refusal:
        return refusal.code


def _target(campaign: Campaign, pipeline_id: str) -> Admission | CoordinatorError:
    """Return the release that a pipeline runs the campaign's items on, or why it runs them on no release."""
    try:
        admitted = resubmission.target(campaign.tenant, pipeline_id, campaign.target_release_version or None)
        admitted.require_runnable()
    except CoordinatorError as refusal:
        return refusal
    return admitted


def _may_pass(target: Admission | CoordinatorError) -> TypeGuard[CoordinatorError]:
    """True if `target` is a refusal that may pass. A named release that is unknown, revoked or retired stays so."""
    return isinstance(target, CoordinatorError) and not isinstance(target, (ReleaseUnknown, ReleaseNotAdmitted))


def _admit(campaign: Campaign, checked: Sequence[_Verdict]) -> tuple[int, int]:
    """Write the new executions and the results of the items. Return how many items have one, and how many executions.

    Items that have a result meanwhile are left out, and so are those whose target release changed, or which may have
    the same work as an earlier one: they are checked again.
    """
    unchanged = _pending(campaign).filter(pk__in=[item.pk for item, _ in checked])
    pending = set(unchanged.values_list("pk", flat=True))
    left = [(item.pk, verdict) for item, verdict in checked if item.pk in pending]
    plans = {pk: verdict for pk, verdict in left if isinstance(verdict, Plan)}
    current = resubmission.lock_if_current([plan.admission for plan in plans.values()])
    first = replacements.first_of_each([plan.old.pk for plan in plans.values()])
    plans = {pk: plan for pk, plan in plans.items() if plan.admission.release.pk in current and plan.old.pk in first}
    written = resubmission.write(list(plans.values()))
    resubmitted = [pk for pk, plan in plans.items() if plan.id in written]
    skipped: dict[str, list[int]] = defaultdict(list)
    for pk, verdict in left:
        if isinstance(verdict, str):
            skipped[verdict].append(pk)
    if refused := {pk: plans[pk].old.pk for pk in plans.keys() - set(resubmitted)}:
        replaced = replacements.replaced_among(refused.values())
        for pk, old in refused.items():
            skipped[(ExecutionReplaced if old in replaced else ExecutionChanged).code].append(pk)
    admitting.record_resubmitted(campaign, resubmitted)
    admitting.record_skipped(skipped)
    admitted = len(resubmitted) + sum(map(len, skipped.values()))
    admitting.record_admitted(campaign, admitted)
    return admitted, len(resubmitted)
