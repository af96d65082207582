"""`coordinator workers`: transition workers, drains, and which releases need workers."""

from typing import Annotated, Any, Final

import typer

from coordinator.command_line.arguments import Limit, OfPipeline, OfRelease, Pipeline, Reason, Timeout
from coordinator.command_line.client import Request, items_of, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.errors import CommandError, Exit, Refused
from coordinator.command_line.session import Session
from coordinator.command_line.spinner import spinner
from coordinator.command_line.text import member

app = noun("workers", "List and drain workers, and plan how many each release needs.")
_COLUMNS: Final = [
    ("WORKER", "workerId"),
    ("STATE", "state"),
    ("PIPELINE", "pin.pipelineId"),
    ("RELEASE", "pin.releaseVersion"),
    ("PROTOCOL", "protocol"),
    ("RUNNING", "running"),
    ("CAPACITY", "capacity"),
    ("WHY NOT", "ineligibleReason"),
    ("HEARTBEAT", "lastHeartbeatAt"),
]
_EVENTS: Final = [("AT", "at"), ("STATE", "state"), ("BY", "actor"), ("DATA", "data")]
_PLAN: Final = [
    ("PIPELINE", "pipelineId"),
    ("RELEASE", "releaseVersion"),
    ("CONTRACT", "contractVersion"),
    ("WORKERS", "workers"),
    ("LIVE", "liveWorkers"),
    ("MAY GO", "mayGo"),
    ("REASONS", "reasons"),
]
Worker = Annotated[str, typer.Argument(help="The worker's id.", show_default=False)]


@reading(app, "list")
def list_workers(
    session: Session,
    pipeline: OfPipeline = None,
    release: OfRelease = None,
    state: Annotated[str | None, typer.Option(help="Only in this state, such as STALE.")] = None,
    limit: Limit = 100,
) -> None:
    """List the workers, each with its release and its state."""
    session.list(_COLUMNS, "workers", limit, pipelineId=pipeline, releaseVersion=release, state=state)


@reading(app, "events")
def events(session: Session, pipeline: Pipeline, worker: Worker, limit: Limit = 50) -> None:
    """List the changes of a worker's state, newest first."""
    session.list(_EVENTS, path("workers", pipeline, worker, "events"), limit)


@changing(app, "drain")
def drain(
    session: Session,
    pipeline: Pipeline,
    worker: Worker,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it holds no work.")] = False,
    timeout: Timeout = None,
) -> None:
    """Let a worker finish its work, and give it no more."""
    request = Request("POST", path("workers", pipeline, worker, "drain"), body={"reason": reason})
    drained = session.act(request, f"Drain worker {worker} of {pipeline}?", show=not wait)
    if drained is not None and wait:
        session.output.document(_idle(session, pipeline, worker, timeout))


@changing(app, "undrain")
def undrain(session: Session, pipeline: Pipeline, worker: Worker, reason: Reason = "") -> None:
    """Give a drained worker work again."""
    session.act(Request("POST", path("workers", pipeline, worker, "undrain"), body={"reason": reason}))


@reading(app, "plan")
def plan(session: Session) -> int:
    """Say which releases need workers, how many, and which workers may go.

    The status is 1 if a release has fewer workers than it needs.
    """
    try:
        items = items_of(session.client.get("worker-plan"))
    except Refused as error:
        if error.http_status != 404:
            raise
        raise CommandError("this coordinator does not plan workers; it is too old", Exit.NOT_FOUND) from None
    session.output.items(_PLAN, items)
    return Exit.NEGATIVE if any(_lacks_workers(item) for item in items) else Exit.OK


def _lacks_workers(item: dict[str, Any]) -> bool:
    needed, live = item.get("workers"), item.get("liveWorkers")
    return isinstance(needed, int) and isinstance(live, int) and live < needed


def _idle(session: Session, pipeline: str, worker: str, timeout: float | None) -> dict[str, Any]:
    """Return the worker when it takes no work and holds none."""
    with spinner("waiting for the worker") as say:

        def idle() -> dict[str, Any] | None:
            for each in session.client.pages("workers", {"pipelineId": pipeline}, 10_000):
                if each.get("workerId") == worker:
                    say(f"{each.get('holding')} in progress")
                    return each if not each.get("taking") and not member(each, "holding") else None
            raise CommandError(f"there is no worker {worker}", Exit.NOT_FOUND)

        return session.until(idle, timeout)
