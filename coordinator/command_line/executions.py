"""`coordinator executions`: submits, shows, follows and changes executions."""

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from coordinator.command_line import following
from coordinator.command_line.arguments import (
    Execution,
    Limit,
    OfPipeline,
    OfRelease,
    Pipeline,
    Reason,
    Timeout,
    json_value,
    without_none,
)
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.errors import Exit
from coordinator.command_line.session import Session, operation_key
from coordinator.command_line.text import clean

app = noun("executions", "Submit, show, follow, cancel and run executions again.")
COLUMNS: Final = [
    ("EXECUTION", "executionId"),
    ("STATUS", "status"),
    ("PIPELINE", "pin.pipelineId"),
    ("RELEASE", "pin.releaseVersion"),
    ("STEP", "currentStepIndex"),
    ("ATTEMPT", "attempt"),
    ("ERROR", "error.code"),
    ("CREATED", "createdAt"),
]
ExpectedVersion = Annotated[
    int | None, typer.Option("--expected-version", help="Refuse unless the execution has it.", show_default=False)
]
Key = Annotated[str, typer.Option("--key", help="The idempotency key. Default: a new one.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag. Repeat it.", show_default=False)]


@changing(app, "submit")
def submit(
    session: Session,
    pipeline: Pipeline,
    value: Annotated[str, typer.Option("--input", help="JSON, or @FILE, or - for stdin.", show_default=False)],
    key: Key = "",
    release: Annotated[str | None, typer.Option(help="A release that is open, other than the active one.")] = None,
    expected: Annotated[str | None, typer.Option(help="Refuse unless this release is active.")] = None,
    routing_key: Annotated[str | None, typer.Option(help="Executions with it get the same release.")] = None,
    tag: Tags = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, and print the result.")] = False,
    timeout: Timeout = None,
) -> int:
    """Submit an execution. With the same key and input, it is submitted once."""
    body = without_none(
        pipelineId=pipeline,
        input=json_value(value, "--input"),
        idempotencyKey=key or operation_key(),
        releaseVersion=release,
        expectedReleaseVersion=expected,
        routingKey=routing_key,
        tags=tag,
    )
    body.setdefault("input", None)
    accepted = session.act(Request("POST", "executions", body=body), show=not wait)
    if accepted is None or not wait:
        return Exit.OK
    return following.wait_and_print(session, clean(accepted.get("executionId")), timeout)


@reading(app, "list")
def list_executions(
    session: Session,
    pipeline: OfPipeline = None,
    release: OfRelease = None,
    status: Annotated[str | None, typer.Option(help="Only with this status, such as DLQ.")] = None,
    error_code: Annotated[str | None, typer.Option(help="Only with this error.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Only whose id or key begins like this.")] = None,
    submitted_by: Annotated[str | None, typer.Option(help="Only by this person or token.")] = None,
    created_from: Annotated[datetime | None, typer.Option(help="Only those created since.")] = None,
    created_to: Annotated[datetime | None, typer.Option(help="Only those created before.")] = None,
    failure_group: Annotated[str | None, typer.Option(help="Only of this failure group.")] = None,
    limit: Limit = 50,
) -> None:
    """List executions, newest first."""
    session.list(
        COLUMNS,
        "executions",
        limit,
        pipelineId=pipeline,
        releaseVersion=release,
        status=status,
        errorCode=error_code,
        tag=tag,
        prefix=prefix,
        submittedBy=submitted_by,
        createdFrom=_moment(created_from),
        createdTo=_moment(created_to),
        failureGroupId=failure_group,
    )


@reading(app, "show")
def show_execution(session: Session, execution: Execution) -> None:
    """Show an execution."""
    session.show(path("executions", execution))


@reading(app, "events")
def events(session: Session, execution: Execution, limit: Limit = 500) -> None:
    """List the events of an execution in order."""
    session.list(following.EVENTS, path("executions", execution, "events"), limit)


@reading(app, "result", watch=False)
def result(session: Session, execution: Execution) -> None:
    """Print the result of an execution, as JSON."""
    session.output.value(session.client.get(path("executions", execution, "result")).get("result"))


@reading(app, "provenance", watch=False)
def provenance(session: Session, execution: Execution) -> None:
    """Print the signed statement of what ran an execution, as JSON."""
    session.output.value(session.client.get(path("executions", execution, "provenance")))


@reading(app, "tail", watch=False)
def tail(session: Session, execution: Execution, timeout: Timeout = None) -> int:
    """Print the events of an execution as they happen, until its end. The status is 1 unless it succeeds."""
    return following.tail(session, execution, timeout)


@reading(app, "wait", watch=False)
def wait(session: Session, execution: Execution, timeout: Timeout = None) -> int:
    """Wait for the end of an execution. The status is 1 unless it succeeds."""
    ended = following.wait(session, execution, timeout)
    session.output.document(ended)
    return following.status_of(ended)


@changing(app, "cancel")
def cancel(session: Session, execution: Execution, reason: Reason = "", expected: ExpectedVersion = None) -> None:
    """Cancel an execution."""
    _operate(session, execution, "cancel", f"Cancel execution {execution}?", reason, expectedVersion=expected)


@changing(app, "redrive")
def redrive(
    session: Session,
    execution: Execution,
    reason: Reason = "",
    expected: ExpectedVersion = None,
    allow_failed: Annotated[bool, typer.Option("--allow-failed", help="Also if a retry cannot help.")] = False,
    allow_revoked: Annotated[bool, typer.Option("--allow-revoked", help="Also if its release is revoked.")] = False,
) -> None:
    """Run a failed execution again, on the same release."""
    more = {"expectedVersion": expected, "allowFailed": allow_failed, "allowRevoked": allow_revoked}
    _operate(session, execution, "redrive", f"Run execution {execution} again?", reason, **more)


@changing(app, "resubmit")
def resubmit(
    session: Session,
    execution: Execution,
    reason: Reason = "",
    release: Annotated[str | None, typer.Option(help="Default: the active one.")] = None,
    value: Annotated[str | None, typer.Option("--input", help="Another input: JSON, or @FILE, or -.")] = None,
    start: Annotated[str, typer.Option("--from", help="Where it starts: input or checkpoint.")] = "input",
    expected: ExpectedVersion = None,
) -> None:
    """Submit a new execution that is linked to an old one, on another release."""
    more: dict[str, Any] = {"expectedVersion": expected, "releaseVersion": release, "from": start}
    if value is not None:
        more["input"] = json_value(value, "--input")
    question = f"Submit execution {execution} again, on {release or 'the active release'}?"
    _operate(session, execution, "resubmit", question, reason, operationKey=operation_key(), **more)


@changing(app, "pause")
def pause(session: Session, execution: Execution, reason: Reason = "") -> None:
    """Keep an execution from being run. This needs a reason."""
    _operate(session, execution, "pause", f"Pause execution {execution}?", reason)


@changing(app, "resume")
def resume(session: Session, execution: Execution, reason: Reason = "") -> None:
    """End the pause of an execution."""
    _operate(session, execution, "resume", "", reason)


def _operate(session: Session, execution: str, act: str, question: str, reason: str, **more: Any) -> None:
    body = without_none(reason=reason, **more)
    session.act(Request("POST", path("executions", execution, act), body=body), question)


def _moment(moment: datetime | None) -> str | None:
    """Return a moment as the API expects it. A moment without an offset is local time."""
    return moment.astimezone().isoformat() if moment else None
