"""`coordinator campaigns` and `workers`: acts on many executions, and what runs them."""

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.commands import Call, Noun, Timeout, moment
from coordinator.command_line.output import spinner
from coordinator.command_line.session import CommandError, Exit, Session
from coordinator.command_line.texts import member
from coordinator_client.api import Request, items_of
from coordinator_client.errors import Refused

CAMPAIGN: Final = "campaigns/{campaign_id}"
WORKER: Final = "workers/{pipeline_id}/{worker_id}"
_OVER: Final = frozenset({"COMPLETED", "CANCELLED"})
_PREVIEWED: Final = frozenset({"redrive", "resubmit"})
"""The kinds whose executions the preview shows: failed ones."""

campaigns = Noun("campaigns", "Re-drive, resubmit, cancel or pause many executions.")
campaigns.listing(
    "list",
    "GET campaigns",
    "CAMPAIGN campaignId, STATUS status, KIND kind, TOTAL progress.total, PENDING progress.pending, "
    "FAILED AGAIN results.failedAgain, BY createdBy, CREATED createdAt, REASON reason",
    "List the campaigns, newest first.",
)
campaigns.showing("show", f"GET {CAMPAIGN}", "Show a campaign with its progress and its results.")
campaigns.listing(
    "items",
    f"GET {CAMPAIGN}/items",
    "EXECUTION executionId, OUTCOME outcome, NEW EXECUTION newExecutionId, STATUS executionStatus, CODE code",
    "List the executions of a campaign in order.",
    limit=500,
)


@campaigns.changing(
    "create",
    "POST campaigns",
    omitted=["executionIds"],
    defaults={"kind": "redrive", "ratePerMinute": 60},
)
def create(
    session: Session,
    call: Call,
    pipeline: Annotated[str | None, typer.Option(help="Only of this pipeline.")] = None,
    release: Annotated[str | None, typer.Option(help="Only of this release.")] = None,
    error_code: Annotated[str | None, typer.Option(help="Only with this error.")] = None,
    group: Annotated[str | None, typer.Option(help="Only of this failure group.")] = None,
    finished_from: Annotated[datetime | None, typer.Option(help="Only those that ended since.")] = None,
    finished_to: Annotated[datetime | None, typer.Option(help="Only those that ended before.")] = None,
) -> None:
    """Start a campaign on all failed executions that match. With --dry-run, print how many match."""
    named = {
        "pipelineId": pipeline,
        "releaseVersion": release,
        "errorCode": error_code,
        "failureGroup": group,
        "finishedFrom": moment(finished_from),
        "finishedTo": moment(finished_to),
    }
    filters = {name: value for name, value in named.items() if value is not None}
    body = call.request.body
    body["filters"] = filters
    kind, preview = body["kind"], {}
    if kind in _PREVIEWED:
        chosen = {"filters": filters, "allowFailed": body.get("allowFailed", False)}
        preview = session.client.call(Request("POST", "campaigns/preview", body=chosen))
        if session.dry_run:
            session.output.document(preview)
            return
    question = "" if body.get("draft") else f"Start a campaign that does {kind} of all executions that match?"
    figures = {name: preview.get(name, "unknown") for name in ("count", "replaced")}
    session.act(call.request, question, details={**figures, **filters})


@campaigns.changing("start", f"POST {CAMPAIGN}/start")
def start(session: Session, call: Call) -> None:
    """Start a draft: act on exactly the executions that it contains."""
    draft = session.client.get(call.request.path.removesuffix("/start"))
    details = {"kind": draft.get("kind"), "executions": member(draft, "progress.total")}
    session.act(call.request, "Start this draft?", details=details)


campaigns.acting("discard", f"POST {CAMPAIGN}/discard", "Remove a draft.", "Remove the draft {campaign}?")
campaigns.acting("pause", f"POST {CAMPAIGN}/pause", "Pause a campaign.")
campaigns.acting("resume", f"POST {CAMPAIGN}/resume", "Continue a campaign.", "Continue campaign {campaign}?")
campaigns.acting(
    "cancel", f"POST {CAMPAIGN}/cancel", "Cancel what is left of a campaign.", "Cancel campaign {campaign}?"
)


@campaigns.reading("wait", f"GET {CAMPAIGN}", watch=False)
def wait(session: Session, call: Call, timeout: Timeout = None) -> int:
    """Wait for the end of a campaign and of its executions.

    The status is 1 if executions failed again, or the campaign was cancelled or paused itself.
    """
    with spinner("waiting for the campaign") as say:

        def over() -> dict[str, Any] | None:
            answer = session.client.call(call.request)
            pending, total = member(answer, "progress.pending"), member(answer, "progress.total")
            running = member(answer, "results.running")
            drafted = f", {member(answer, 'progress.drafted')} drafted" if answer.get("status") == "DRAFTING" else ""
            say(f"{answer.get('status')}: {pending} of {total} pending, {running} running{drafted}")
            if answer.get("status") == "PAUSED" and answer.get("cause"):
                return answer
            return answer if answer.get("status") in _OVER and not running else None

        ended = session.until(over, timeout)
    session.output.document(ended)
    failed = member(ended, "results.failedAgain")
    return Exit.OK if ended.get("status") == "COMPLETED" and not failed else Exit.NEGATIVE


workers = Noun("workers", "List and drain workers, and plan how many each release needs.")
workers.listing(
    "list",
    "GET workers",
    "WORKER workerId, STATE state, PIPELINE pin.pipelineId, RELEASE pin.releaseVersion, PROTOCOL protocol, "
    "RUNNING running, CAPACITY capacity, ABANDONED abandoned, WHY NOT ineligibleReason, HEARTBEAT lastHeartbeatAt",
    "List the workers, each with its release and its state.",
    limit=100,
)
workers.listing(
    "events",
    f"GET {WORKER}/events",
    "AT at, STATE state, BY actor, DATA data",
    "List the changes of a worker's state, newest first.",
)


@workers.changing("drain", f"POST {WORKER}/drain")
def drain(
    session: Session,
    call: Call,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it holds no work.")] = False,
    timeout: Timeout = None,
) -> None:
    """Let a worker finish its work, and give it no more."""
    pipeline, worker = call.arguments["pipeline"], call.arguments["worker"]
    drained = session.act(call.request, f"Drain worker {worker} of {pipeline}?", show=not wait)
    if drained is not None and wait:
        session.output.document(_idle(session, pipeline, worker, timeout))


workers.acting("undrain", f"POST {WORKER}/undrain", "Give a drained worker work again.")


@workers.reading("plan")
def plan(session: Session) -> int:
    """Say which releases need workers, how many, and which workers can stop.

    The status is 1 if a release has fewer workers than it needs.
    """
    try:
        items = items_of(session.client.get("worker-plan"))
    except Refused as error:
        if error.status != 404:
            raise
        raise CommandError("this coordinator does not plan workers; it is too old", Exit.NOT_FOUND) from None
    session.output.items(
        "PIPELINE pipelineId, RELEASE releaseVersion, CONTRACT contractVersion, WORKERS workers, LIVE liveWorkers, "
        "CAN STOP canStop, REASONS reasons",
        [{"canStop": item.get("mayGo"), **item} for item in items],  # the former version has only `mayGo`
    )
    return Exit.NEGATIVE if any(_lacks_workers(item) for item in items) else Exit.OK


def _lacks_workers(item: dict[str, Any]) -> bool:
    needed, live = item.get("workers"), item.get("liveWorkers")
    return isinstance(needed, int) and isinstance(live, int) and live < needed


def _idle(session: Session, pipeline: str, worker: str, timeout: float | None) -> dict[str, Any]:
    """Return the worker when it takes no work and holds none."""
    with spinner("waiting for the worker") as say:

        def idle() -> dict[str, Any] | None:
            for listed in session.client.pages("workers", {"pipelineId": pipeline}, 10_000):
                if listed.get("workerId") == worker:
                    say(f"{listed.get('holding')} in progress")
                    return listed if not listed.get("taking") and not member(listed, "holding") else None
            raise CommandError(f"there is no worker {worker}", Exit.NOT_FOUND)

        return session.until(idle, timeout)
