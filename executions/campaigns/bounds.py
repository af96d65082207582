"""Holds a campaign back until its canary has passed, and pauses it when too many of its executions fail again."""

from executions.campaigns import statements
from executions.campaigns.changes import COORDINATOR, change, record
from executions.campaigns.results import Results, results_of
from executions.models import Campaign
from tenancy.audit.acts import Act

Cause = Campaign.Cause
Status = Campaign.Status


def admissible(campaign: Campaign, credit: int) -> int | None:
    """Return how many items may be admitted now, at most `credit`. The caller has locked the running campaign.

    While the canary runs, that is what is left of it. Returns None if the campaign has paused itself, because an
    execution of its canary failed again, or as many executions as it stops after.
    """
    waits = campaign.canary is not None and not campaign.canary_over
    if not waits and campaign.stop_after_failures is None:
        return credit
    found = results_of(campaign.pk)
    if waits and found.unaccepted:
        _pause(campaign, Cause.CANARY, found)
        return None
    if campaign.stop_after_failures is not None and found.unaccepted >= campaign.stop_after_failures:
        _pause(campaign, Cause.FAILURES, found)
        return None
    return _of_canary(campaign, credit, found) if waits else credit


def _of_canary(campaign: Campaign, credit: int, found: Results) -> int:
    """Return the room that is left in the canary. End the canary if all of it have ended or wait for an answer."""
    left = (campaign.canary or 0) - found.total
    if left > 0:
        return min(credit, left)
    if not found.running:
        change(
            campaign.tenant,
            campaign.pk,
            {Status.RUNNING},
            Status.RUNNING,
            "CANARY_PASSED",
            COORDINATOR,
            {"executions": found.total},
            statements.END_CANARY,
        )
    return 0


def _pause(campaign: Campaign, cause: Cause, found: Results) -> None:
    details = {"cause": cause.value, "failedAgain": found.failed_again}
    changed = change(
        campaign.tenant,
        campaign.pk,
        {Status.RUNNING},
        Status.PAUSED,
        "PAUSED",
        COORDINATOR,
        details,
        statements.PAUSE,
        cause=cause.value,
    )
    if changed:
        record(Act.CAMPAIGN_PAUSE, campaign.tenant, campaign.pk, COORDINATOR, "", **details)
