"""`coordinator requests`: requests to activate a release, and votes on them."""

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.arguments import Limit, OfRelease, Pipeline, Reason, Release, without_none
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.session import Session, operation_key

app = noun("requests", "Ask for activations, and approve or reject what others ask for.")
_COLUMNS: Final = [
    ("REQUEST", "requestId"),
    ("STATUS", "status"),
    ("RELEASE", "releaseVersion"),
    ("BY", "actor"),
    ("NEEDED", "approvalsNeeded"),
    ("AT", "activateAt"),
    ("EXPIRES", "expiresAt"),
    ("REASON", "reason"),
]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id.", show_default=False)]
Comment = Annotated[str, typer.Option("--comment", help="A comment on the vote.")]


def _requests(pipeline: str, *more: str) -> str:
    return path("pipelines", pipeline, "activation-requests", *more)


@reading(app, "list")
def list_requests(
    session: Session,
    pipeline: Pipeline,
    status: Annotated[str | None, typer.Option(help="Only with this status, such as OPEN.")] = None,
    release: OfRelease = None,
    limit: Limit = 50,
) -> None:
    """List the activation requests of a pipeline, newest first."""
    session.list(_COLUMNS, _requests(pipeline), limit, status=status, releaseVersion=release)


@reading(app, "show")
def show_request(session: Session, pipeline: Pipeline, request: RequestId) -> None:
    """Show an activation request with its votes."""
    session.show(_requests(pipeline, request))


@changing(app, "make")
def make(
    session: Session,
    pipeline: Pipeline,
    release: Release,
    reason: Reason = "",
    at: Annotated[datetime | None, typer.Option(help="When to activate it. Default: at the last approval.")] = None,
) -> None:
    """Ask for the activation of a release."""
    body = without_none(
        releaseVersion=release,
        reason=reason,
        activateAt=at.astimezone().isoformat() if at else None,
        operationKey=operation_key(),
    )
    session.act(Request("POST", _requests(pipeline), body=body))


@changing(app, "approve")
def approve(session: Session, pipeline: Pipeline, request: RequestId, comment: Comment = "") -> None:
    """Approve a request. The last approval that is needed activates the release."""
    _vote(session, pipeline, request, "approve", comment)


@changing(app, "reject")
def reject(session: Session, pipeline: Pipeline, request: RequestId, comment: Comment = "") -> None:
    """Refuse a request. This ends it."""
    _vote(session, pipeline, request, "refuse", comment)


@changing(app, "withdraw")
def withdraw(session: Session, pipeline: Pipeline, request: RequestId, reason: Reason = "") -> None:
    """Withdraw a request. This needs a reason."""
    body = {"reason": reason}
    session.act(Request("POST", _requests(pipeline, request, "withdrawal"), body=body), f"Withdraw request {request}?")


def _vote(session: Session, pipeline: str, request: str, decision: str, comment: str) -> None:
    """Vote in the round that is shown in the question, so that no vote counts for a plan that has changed meanwhile."""
    found = session.client.get(_requests(pipeline, request))
    shown = ("releaseVersion", "activeReleaseVersion", "actor", "reason", "activateAt", "round", "moved")
    details: dict[str, Any] = {name: found.get(name) for name in shown}
    body = {"decision": decision, "round": found.get("round"), "comment": comment}
    question = f"{decision.capitalize()} the activation of {found.get('releaseVersion')} of {pipeline}?"
    session.act(Request("POST", _requests(pipeline, request, "votes"), body=body), question, details=details)
