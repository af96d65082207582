"""`coordinator gradual`: gradual activations."""

from typing import Annotated, Any, Final

import typer

from coordinator.command_line.arguments import Limit, Pipeline, Reason, Release
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.errors import CommandError
from coordinator.command_line.session import Session, operation_key

app = noun("gradual", "Start, move on, promote and withdraw gradual activations.")
_COLUMNS: Final = [
    ("GRADUAL", "gradualActivationId"),
    ("STATUS", "status"),
    ("CANDIDATE", "candidateReleaseVersion"),
    ("BASELINE", "baselineReleaseVersion"),
    ("STEP", "step"),
    ("BY", "actor"),
    ("STARTED", "startedAt"),
    ("CAUSE", "cause"),
]
GradualId = Annotated[str, typer.Argument(metavar="GRADUAL", help="The gradual activation's id.", show_default=False)]


def _gradual(pipeline: str, *more: str) -> str:
    return path("pipelines", pipeline, "gradual-activations", *more)


@reading(app, "list")
def list_gradual(session: Session, pipeline: Pipeline, limit: Limit = 50) -> None:
    """List the gradual activations of a pipeline, newest first."""
    session.list(_COLUMNS, _gradual(pipeline), limit)


@reading(app, "show")
def show_gradual(session: Session, pipeline: Pipeline, gradual: GradualId) -> None:
    """Show a gradual activation with its evidence."""
    session.show(_gradual(pipeline, gradual))


@changing(app, "start")
def start(
    session: Session,
    pipeline: Pipeline,
    release: Release,
    step: Annotated[
        list[str], typer.Option(help="SHARE:SAMPLE:MINUTES, such as 10:100:30. Repeat it.", show_default=False)
    ],
    reason: Reason = "",
) -> None:
    """Give a candidate a share of the new executions that grows by steps."""
    body = {
        "releaseVersion": release,
        "reason": reason,
        "steps": [_step(each) for each in step],
        "operationKey": operation_key(),
    }
    session.act(Request("POST", _gradual(pipeline), body=body), f"Activate {release} of {pipeline} gradually?")


@changing(app, "step")
def move_on(session: Session, pipeline: Pipeline, gradual: GradualId, reason: Reason = "") -> None:
    """Move on to the next step now."""
    step = session.client.get(_gradual(pipeline, gradual)).get("step")
    _end(session, pipeline, gradual, "step", reason, "Move on to the next step?", expectedStep=step)


@changing(app, "promote")
def promote(session: Session, pipeline: Pipeline, gradual: GradualId, reason: Reason = "") -> None:
    """Make the candidate the active release."""
    _end(session, pipeline, gradual, "promotion", reason, "Make the candidate the active release?")


@changing(app, "withdraw")
def withdraw(session: Session, pipeline: Pipeline, gradual: GradualId, reason: Reason = "") -> None:
    """Withdraw the candidate. This needs a reason."""
    _end(session, pipeline, gradual, "withdrawal", reason, "Withdraw the candidate?")


def _end(session: Session, pipeline: str, gradual: str, act: str, reason: str, question: str, **more: Any) -> None:
    body = {"reason": reason, "operationKey": operation_key(), **more}
    session.act(Request("POST", _gradual(pipeline, gradual, act), body=body), question)


def _step(text: str) -> dict[str, float]:
    try:
        share, sample, minutes = text.split(":")
        return {"share": float(share), "minimumSample": int(sample), "minimumMinutes": int(minutes)}
    except ValueError:
        raise CommandError("--step must be SHARE:SAMPLE:MINUTES, such as 10:100:30") from None
