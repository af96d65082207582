"""`coordinator failures`: groups of failures, and dead letters."""

from typing import Annotated, Final

import typer

from coordinator.command_line.arguments import Limit, OfPipeline, OfRelease, without_none
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.errors import CommandError
from coordinator.command_line.session import Session

app = noun("failures", "List failures by cause, and say what is being done about them.")
_GROUPS: Final = [
    ("GROUP", "failureGroupId"),
    ("ERROR", "errorCode"),
    ("PIPELINE", "pipelineId"),
    ("RELEASE", "releaseVersion"),
    ("STEP", "stepName"),
    ("OPEN", "failures.open"),
    ("LAST DAY", "failures.lastDay"),
    ("NEW", "new"),
    ("ASSIGNEE", "assignee"),
    ("LAST SEEN", "lastSeenAt"),
]
_LETTERS: Final = [
    ("EXECUTION", "executionId"),
    ("STATUS", "executionStatus"),
    ("PIPELINE", "pin.pipelineId"),
    ("RELEASE", "pin.releaseVersion"),
    ("REASON", "reason"),
    ("ERROR", "errorCode"),
    ("MESSAGE", "errorMessage"),
    ("CREATED", "createdAt"),
]
GroupId = Annotated[str, typer.Argument(metavar="GROUP", help="The failure group's id.", show_default=False)]
ErrorCode = Annotated[str | None, typer.Option("--error-code", help="Only with this error.", show_default=False)]


@reading(app, "groups")
def groups(
    session: Session,
    pipeline: OfPipeline = None,
    release: OfRelease = None,
    error_code: ErrorCode = None,
    new: Annotated[bool, typer.Option("--new", help="Only those that are not acknowledged.")] = False,
    assignee: Annotated[str | None, typer.Option(help="Only those of this person.")] = None,
    limit: Limit = 50,
) -> None:
    """List the groups of failures with the same cause, the last seen first."""
    session.list(
        _GROUPS,
        "failure-groups",
        limit,
        pipelineId=pipeline,
        releaseVersion=release,
        errorCode=error_code,
        new=new or None,
        assignee=assignee,
    )


@reading(app, "show")
def show_group(session: Session, group: GroupId) -> None:
    """Show a failure group."""
    session.show(path("failure-groups", group))


@changing(app, "update")
def update(
    session: Session,
    group: GroupId,
    acknowledged: Annotated[
        bool | None, typer.Option("--acknowledge/--unacknowledge", help="Whether it is known.")
    ] = None,
    assignee: Annotated[str | None, typer.Option(help='Who takes care of it; "" for no one.')] = None,
    note: Annotated[str | None, typer.Option(help="What is known about it.")] = None,
) -> None:
    """Acknowledge a failure group, assign it, or write a note."""
    body = without_none(acknowledged=acknowledged, assignee=assignee, note=note)
    if not body:
        raise CommandError("say what to change: --acknowledge, --assignee or --note")
    session.act(Request("PATCH", path("failure-groups", group), body=body))


@reading(app, "letters")
def letters(
    session: Session,
    pipeline: OfPipeline = None,
    release: OfRelease = None,
    error_code: ErrorCode = None,
    group: Annotated[str | None, typer.Option(help="Only of this failure group.")] = None,
    execution: Annotated[str | None, typer.Option(help="Only of this execution.")] = None,
    limit: Limit = 50,
) -> None:
    """List the dead letters, the records of terminal failures, newest first."""
    session.list(
        _LETTERS,
        "dead-letters",
        limit,
        pipelineId=pipeline,
        releaseVersion=release,
        errorCode=error_code,
        failureGroupId=group,
        executionId=execution,
    )
