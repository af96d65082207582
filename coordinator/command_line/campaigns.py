"""`coordinator campaigns`: acts on many executions."""

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.arguments import Limit, OfPipeline, OfRelease, Reason, Timeout, without_none
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.errors import Exit
from coordinator.command_line.session import Session
from coordinator.command_line.spinner import spinner
from coordinator.command_line.text import member

app = noun("campaigns", "Re-drive, resubmit, cancel or pause many executions.")
_COLUMNS: Final = [
    ("CAMPAIGN", "campaignId"),
    ("STATUS", "status"),
    ("KIND", "kind"),
    ("TOTAL", "progress.total"),
    ("PENDING", "progress.pending"),
    ("FAILED AGAIN", "results.failedAgain"),
    ("BY", "createdBy"),
    ("CREATED", "createdAt"),
    ("REASON", "reason"),
]
_ITEMS: Final = [
    ("EXECUTION", "executionId"),
    ("OUTCOME", "outcome"),
    ("NEW EXECUTION", "newExecutionId"),
    ("STATUS", "executionStatus"),
    ("CODE", "code"),
]
_OVER: Final = frozenset({"COMPLETED", "CANCELLED"})
CampaignId = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's id.", show_default=False)]
Kind = Annotated[str, typer.Option("--kind", help="redrive, resubmit, cancel or pause.")]
Rate = Annotated[int, typer.Option("--rate", min=1, help="Executions a minute.")]
ErrorCode = Annotated[str | None, typer.Option("--error-code", help="Only with this error.", show_default=False)]
Group = Annotated[str | None, typer.Option("--group", help="Only of this failure group.", show_default=False)]
Since = Annotated[datetime | None, typer.Option("--finished-from", help="Only those that ended since.")]
Until = Annotated[datetime | None, typer.Option("--finished-to", help="Only those that ended before.")]
AllowFailed = Annotated[bool, typer.Option("--allow-failed", help="Also those that a retry cannot help.")]
Canary = Annotated[int | None, typer.Option("--canary", help="How many run first.", show_default=False)]
StopAfter = Annotated[
    int | None, typer.Option("--stop-after", help="Pause after this number of failures.", show_default=False)
]


@reading(app, "list")
def list_campaigns(
    session: Session,
    status: Annotated[str | None, typer.Option(help="Only with this status, such as RUNNING.")] = None,
    limit: Limit = 50,
) -> None:
    """List the campaigns, newest first."""
    session.list(_COLUMNS, "campaigns", limit, status=status)


@reading(app, "show")
def show_campaign(session: Session, campaign: CampaignId) -> None:
    """Show a campaign with its progress and its results."""
    session.show(path("campaigns", campaign))


@reading(app, "items")
def items(
    session: Session,
    campaign: CampaignId,
    outcome: Annotated[str | None, typer.Option(help="Only with this outcome, such as SKIPPED.")] = None,
    limit: Limit = 500,
) -> None:
    """List the executions of a campaign in order."""
    session.list(_ITEMS, path("campaigns", campaign, "items"), limit, outcome=outcome)


@changing(app, "create")
def create(
    session: Session,
    reason: Reason = "",
    kind: Kind = "redrive",
    pipeline: OfPipeline = None,
    release: OfRelease = None,
    error_code: ErrorCode = None,
    group: Group = None,
    finished_from: Since = None,
    finished_to: Until = None,
    rate: Rate = 60,
    canary: Canary = None,
    stop_after: StopAfter = None,
    target: Annotated[str | None, typer.Option(help="With resubmit: the release to run on.")] = None,
    allow_failed: AllowFailed = False,
    allow_revoked: Annotated[bool, typer.Option("--allow-revoked", help="Also on revoked releases.")] = False,
    draft: Annotated[bool, typer.Option("--draft", help="Only select the executions; start it later.")] = False,
) -> None:
    """Start a campaign on all failed executions that match. With --dry-run, print how many match."""
    filters = _filters(pipeline, release, error_code, group, finished_from, finished_to)
    chosen = {"filters": filters, "allowFailed": allow_failed}
    preview = session.client.call(Request("POST", "campaigns/preview", body=chosen)) if kind in _PREVIEWED else {}
    if session.options.dry_run and preview:
        session.output.document(preview)
        return
    body = without_none(
        **chosen,
        kind=kind,
        reason=reason,
        ratePerMinute=rate,
        canary=canary,
        stopAfterFailures=stop_after,
        targetReleaseVersion=target,
        allowRevoked=allow_revoked,
        draft=draft,
    )
    question = "" if draft else f"Start a campaign that does {kind} of all executions that match?"
    details = {"count": preview.get("count", "unknown"), "filters": filters}
    session.act(Request("POST", "campaigns", body=body), question, details=details)


_PREVIEWED: Final = frozenset({"redrive", "resubmit"})
"""The kinds whose executions the preview shows: failed ones."""


@changing(app, "start")
def start(session: Session, campaign: CampaignId, reason: Reason = "") -> None:
    """Start a draft: act on exactly the executions that it contains."""
    found = session.client.get(path("campaigns", campaign))
    details = {"kind": found.get("kind"), "executions": member(found, "progress.total")}
    _change(session, campaign, "start", reason, "Start this draft?", details)


@changing(app, "discard")
def discard(session: Session, campaign: CampaignId, reason: Reason = "") -> None:
    """Remove a draft."""
    _change(session, campaign, "discard", reason, f"Remove the draft {campaign}?")


@changing(app, "pause")
def pause(session: Session, campaign: CampaignId, reason: Reason = "") -> None:
    """Pause a campaign."""
    _change(session, campaign, "pause", reason)


@changing(app, "resume")
def resume(session: Session, campaign: CampaignId, reason: Reason = "") -> None:
    """Continue a campaign."""
    _change(session, campaign, "resume", reason, f"Continue campaign {campaign}?")


@changing(app, "cancel")
def cancel(session: Session, campaign: CampaignId, reason: Reason = "") -> None:
    """Cancel what is left of a campaign."""
    _change(session, campaign, "cancel", reason, f"Cancel campaign {campaign}?")


@reading(app, "wait", watch=False)
def wait(session: Session, campaign: CampaignId, timeout: Timeout = None) -> int:
    """Wait for the end of a campaign and of its executions.

    The status is 1 if executions failed again, or the campaign was cancelled or paused itself.
    """
    with spinner("waiting for the campaign") as say:

        def over() -> dict[str, Any] | None:
            found = session.client.get(path("campaigns", campaign))
            pending, total = member(found, "progress.pending"), member(found, "progress.total")
            running = member(found, "results.running")
            say(f"{found.get('status')}: {pending} of {total} pending, {running} running")
            if found.get("status") == "PAUSED" and found.get("cause"):
                return found
            return found if found.get("status") in _OVER and not running else None

        ended = session.until(over, timeout)
    session.output.document(ended)
    failed = member(ended, "results.failedAgain")
    return Exit.OK if ended.get("status") == "COMPLETED" and not failed else Exit.NEGATIVE


def _change(
    session: Session, campaign: str, act: str, reason: str, question: str = "", details: dict[str, Any] | None = None
) -> None:
    body = {"reason": reason} if reason else {}
    session.act(Request("POST", path("campaigns", campaign, act), body=body), question, details=details)


def _filters(
    pipeline: str | None,
    release: str | None,
    error_code: str | None,
    group: str | None,
    finished_from: datetime | None,
    finished_to: datetime | None,
) -> dict[str, Any]:
    return without_none(
        pipelineId=pipeline,
        releaseVersion=release,
        errorCode=error_code,
        failureGroup=group,
        finishedFrom=finished_from.astimezone().isoformat() if finished_from else None,
        finishedTo=finished_to.astimezone().isoformat() if finished_to else None,
    )
