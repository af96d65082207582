"""`coordinator questions`: the questions of executions that wait."""

from typing import Annotated, Final

import typer

from coordinator.command_line.arguments import Limit, OfPipeline, json_value, without_none
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.session import Session

app = noun("questions", "List, claim and answer the questions of executions that wait.")
_COLUMNS: Final = [
    ("QUESTION", "interactionId"),
    ("STATUS", "status"),
    ("PIPELINE", "pipelineId"),
    ("STEP", "stepId"),
    ("EXECUTION", "executionId"),
    ("CLAIMED BY", "claimedBy"),
    ("GROUP", "group"),
    ("DEADLINE", "deadline"),
]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="The question's id.", show_default=False)]
TakeOver = Annotated[bool, typer.Option("--take-over", help="Also if another person has claimed it.")]


@reading(app, "list")
def list_questions(
    session: Session,
    status: Annotated[str, typer.Option(help='Only with this status; "" for all.')] = "pending",
    pipeline: OfPipeline = None,
    execution: Annotated[str | None, typer.Option(help="Only of this execution.")] = None,
    group: Annotated[str | None, typer.Option(help="Only for this group.")] = None,
    assignee: Annotated[str | None, typer.Option(help="Only for this person.")] = None,
    claimed_by: Annotated[str | None, typer.Option(help="Only claimed by this person.")] = None,
    limit: Limit = 50,
) -> None:
    """List questions, the next deadline first."""
    session.list(
        _COLUMNS,
        "interactions",
        limit,
        status=status or None,
        pipelineId=pipeline,
        executionId=execution,
        group=group,
        assignee=assignee,
        claimedBy=claimed_by,
    )


@reading(app, "show")
def show_question(session: Session, question: Question) -> None:
    """Show a question with its request."""
    session.show(path("interactions", question))


@changing(app, "answer")
def answer(
    session: Session,
    question: Question,
    response: Annotated[str, typer.Option("--response", help="JSON, or @FILE, or - for stdin.", show_default=False)],
    note: Annotated[str | None, typer.Option(help="A note on the decision.", show_default=False)] = None,
) -> None:
    """Answer a question. The execution continues. An answer cannot be changed."""
    value = json_value(response, "--response")
    body = {"interactionId": question, "response": value, **without_none(note=note)}
    session.act(Request("POST", "interactions/complete", body=body))


@changing(app, "claim")
def claim(session: Session, question: Question, take_over: TakeOver = False) -> None:
    """Claim a question, so that others see who works on it."""
    session.act(Request("POST", path("interactions", question, "claim"), body={"takeOver": take_over}))


@changing(app, "release")
def release(session: Session, question: Question) -> None:
    """Give up the claim of a question."""
    session.act(Request("POST", path("interactions", question, "release")))


@changing(app, "delegate")
def delegate(
    session: Session,
    question: Question,
    to: Annotated[str, typer.Option("--to", help="The person.", show_default=False)],
    note: Annotated[str | None, typer.Option(help="A note for the person.", show_default=False)] = None,
    take_over: TakeOver = False,
) -> None:
    """Give a question to another person."""
    body = {"to": to, "takeOver": take_over, **without_none(note=note)}
    session.act(Request("POST", path("interactions", question, "delegate"), body=body))
