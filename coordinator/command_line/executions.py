"""`coordinator executions`, `failures` and `questions`: submits, follows, changes and answers executions."""

import time
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.commands import Call, Execution, Most, Noun, Timeout
from coordinator.command_line.output import Form, spinner
from coordinator.command_line.session import CommandError, Exit, Session
from coordinator.command_line.tailing import Events
from coordinator.command_line.texts import clean, member
from coordinator_client.api import ENDED, path
from coordinator_client.errors import Refused

EXECUTION: Final = "executions/{execution_id}"
EVENTS: Final = "AT at, # sequence, KIND kind, STATUS status, BY actor, DATA data"
WAIT_SECONDS: Final = 2
"""How long the coordinator holds a request for the end of an execution. Then the state is shown again."""

_IN_SHORT: Final = ("executionId", "businessKey", "pin.releaseVersion", "status", "duplicate")
"""What a table says about a submitted execution."""

executions = Noun("executions", "Submit, show, follow, cancel and run executions again.")


@executions.changing("submit", "POST executions", arguments=["pipelineId"])
def submit(
    session: Session,
    call: Call,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, and print the result.")] = False,
    timeout: Timeout = None,
) -> int:
    """Submit an execution. With the same key and input, it is submitted once."""
    accepted = session.act(call.request, show=False)
    if accepted is None:
        return Exit.OK
    if not wait:
        shown = (
            accepted
            if session.output.form is Form.JSON
            else {name.rpartition(".")[2]: member(accepted, name) for name in _IN_SHORT}
        )
        session.output.document(shown)
        return Exit.OK
    ended = _ended(session, clean(accepted.get("executionId")), timeout)
    if ended.get("status") == "SUCCEEDED":
        execution = path("executions", str(ended.get("executionId")), "result")
        session.output.value(session.client.get(execution).get("result"))
    else:
        session.output.document(ended)
        session.output.note(f"coordinator executions explain {ended.get('executionId')} says what happened")
    return _status_of(ended)


EXECUTIONS: Final = (
    "EXECUTION executionId, KEY businessKey, STATUS status, PIPELINE pin.pipelineId, RELEASE pin.releaseVersion, "
    "STEP currentStepName, RETRIES attempt, ERROR error.code, CREATED createdAt"
)
_SEARCH: Final = typer.Option(
    "--search",
    metavar="NAME=VALUE",
    help="Only with this value of a field that the pipeline declares as search, such as customer=c-17. NAME.from=VALUE "
    "and NAME.to=VALUE limit a number or time. Repeat it for several.",
    show_default=False,
)


@executions.reading("list", "GET executions")
def list_executions(
    session: Session, call: Call, search: Annotated[list[str] | None, _SEARCH] = None, limit: Most = 50
) -> None:
    """List executions, newest first."""
    query = {**call.request.query, **dict(map(_searched, search or ()))}
    session.output.items(EXECUTIONS, session.client.pages(call.request.path, query, limit))


def _searched(text: str) -> tuple[str, str]:
    """Return the parameter and the value of NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise CommandError(f"--search {text!r}: write NAME=VALUE, such as customer=c-17")
    return f"search.{name}", value


executions.showing("show", f"GET {EXECUTION}", "Show an execution.")
executions.listing("events", f"GET {EXECUTION}/events", EVENTS, "List the events of an execution in order.", limit=500)


@executions.reading("explain", f"GET {EXECUTION}/explanation")
def explain(session: Session, call: Call) -> None:
    """Say which code ran each step of an execution, when and where, and what happens next."""
    execution = session.client.call(call.request)
    if session.output.form is Form.JSON:
        session.output.value(execution)
        return
    pin = execution.get("pin", {})
    digests = ", ".join(
        f"{artifact.get('artifactId')} {artifact.get('digest')}" for artifact in execution.get("artifacts", ())
    )
    said = [f"Execution {execution.get('executionId')} is {execution.get('status')}."]
    said += [*execution.get("now", ()), *execution.get("next", ()), ""]
    said += [f"Pinned to {pin.get('pipelineId')} {pin.get('releaseVersion')}, contract {pin.get('contractVersion')}"]
    said += [f"Artifacts: {digests}", *execution.get("code", ()), ""]
    if execution.get("omitted"):
        said.append("…")
    for entry in execution.get("history", ()):
        said.append(f"{str(entry.get('at')).replace('T', ' ')[:23]}Z  {entry.get('text')}")
        said += [f"    {line}" for line in entry.get("traceback", ())]
    session.output.text("\n".join(said))


@executions.reading("result", f"GET {EXECUTION}/result", watch=False)
def result(session: Session, call: Call) -> int:
    """Print the result of an execution, as JSON. The status is 1 unless it succeeded."""
    ended = session.client.call(call.request)
    if ended.get("status") == "SUCCEEDED":
        session.output.value(ended.get("result"))
    else:
        error = ended.get("error") or {}
        session.output.note(f"{ended.get('status')} {error.get('code', '')} {error.get('message', '')}".rstrip())
    return _status_of(ended)


@executions.reading("provenance", f"GET {EXECUTION}/provenance", watch=False)
def provenance(session: Session, call: Call) -> None:
    """Print the signed statement of what ran an execution, as JSON."""
    session.output.value(session.client.call(call.request))


@executions.reading("tail", watch=False)
def tail(session: Session, execution: Execution, timeout: Timeout = None) -> int:
    """Print the events of an execution as they happen, until its end. The status is 1 unless it succeeds.

    The progress that its steps report goes to stderr.
    """
    events = Events(session.client, execution)
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    shown = ""

    def ended() -> dict[str, Any] | None:
        nonlocal shown
        for event in events.new(deadline):
            session.output.line(event, EVENTS)
        if events.status == "RUNNING" and (progress := events.progress()) != shown:
            shown = progress
            session.output.note(progress)
        return {"status": events.status} if events.have_ended else None

    return _status_of(session.until(ended, timeout, pause=0.1))


@executions.reading("wait", watch=False)
def wait(session: Session, execution: Execution, timeout: Timeout = None) -> int:
    """Wait for the end of an execution. The status is 1 unless it succeeds."""
    ended = _ended(session, execution, timeout)
    session.output.document(ended)
    return _status_of(ended)


def _ended(session: Session, execution_id: str, timeout: float | None) -> dict[str, Any]:
    """Return the execution when it has ended. Raises `CommandError`, OVERDUE after `timeout` seconds."""
    with spinner("waiting for the execution") as say:

        def ended() -> dict[str, Any] | None:
            execution = session.client.get(path("executions", execution_id), wait=WAIT_SECONDS)
            step = execution.get("currentStepName") or f"step {execution.get('currentStepIndex', 0) + 1}"
            say(f"{execution.get('status')}, {step}, attempt {execution.get('attempt', 0) + 1}")
            return execution if execution.get("status") in ENDED else None

        return session.until(ended, timeout, pause=0.5)


def _status_of(execution: dict[str, Any]) -> int:
    return Exit.OK if execution.get("status") == "SUCCEEDED" else Exit.NEGATIVE


executions.acting("cancel", f"POST {EXECUTION}/cancel", "Cancel an execution.", "Cancel execution {execution}?")


@executions.changing("redrive", f"POST {EXECUTION}/redrive")
def redrive(session: Session, call: Call) -> None:
    """Run a failed execution again, on the same release."""
    try:
        session.act(call.request, f"Run execution {call.arguments['execution']} again?")
    except Refused as refusal:
        if refusal.code == "REDRIVE_REFUSED" and refusal.detail.endswith(" FAILED"):
            raise CommandError(f"{refusal}; run it again all the same with --allow-failed", Exit.REFUSED) from None
        raise _with_flag(refusal) from None


def _with_flag(refusal: Refused) -> Exception:
    """Return the refusal, with the flag that confirms that work runs twice if that is what was refused."""
    if refusal.code != "EXECUTION_REPLACED":
        return refusal
    return CommandError(f"{refusal}; run it twice all the same with --allow-replaced", Exit.REFUSED)


@executions.changing("resubmit", f"POST {EXECUTION}/resubmit", defaults={"from": "input"})
def resubmit(session: Session, call: Call) -> None:
    """Submit a new execution that is linked to an old one, on another release."""
    release = call.arguments["release"] or "the active release"
    try:
        session.act(call.request, f"Submit execution {call.arguments['execution']} again, on {release}?")
    except Refused as refusal:
        raise _with_flag(refusal) from None


executions.acting(
    "pause",
    f"POST {EXECUTION}/pause",
    "Keep an execution from being run. This needs a reason.",
    "Pause execution {execution}?",
)
executions.acting("resume", f"POST {EXECUTION}/resume", "End the pause of an execution.")

failures = Noun("failures", "List failures by cause, and say what is being done about them.")
failures.listing(
    "groups",
    "GET failure-groups",
    "GROUP failureGroupId, ERROR errorCode, PIPELINE pipelineId, RELEASE releaseVersion, STEP stepName, "
    "OPEN failures.open, LAST DAY failures.lastDay, NEW new, ASSIGNEE assignee, LAST SEEN lastSeenAt",
    "List the groups of failures with the same cause, the last seen first.",
)
failures.showing("show", "GET failure-groups/{failure_group_id}", "Show a failure group.")


@failures.changing(
    "update",
    "PATCH failure-groups/{failure_group_id}",
    flags={"acknowledged": "--acknowledge/--unacknowledge"},
)
def update(session: Session, call: Call) -> None:
    """Acknowledge a failure group, assign it, or write a note."""
    if not call.request.body:
        raise CommandError("say what to change: --acknowledge, --assignee or --note")
    session.act(call.request)


for name in ("dead-letters", "letters"):  # the second is the former name, which the next version removes
    failures.listing(
        name,
        "GET dead-letters",
        "EXECUTION executionId, STATUS executionStatus, PIPELINE pin.pipelineId, RELEASE pin.releaseVersion, "
        "REASON reason, STEP failedStepName, ERROR errorCode, MESSAGE errorMessage, CREATED createdAt",
        "List the failures of executions, newest first.",
        hidden=name == "letters",
    )

questions = Noun("questions", "List, claim and answer the questions of executions that wait.")
questions.listing(
    "list",
    "GET questions",
    "QUESTION questionId, KEY businessKey, STATUS status, PIPELINE pipelineId, STEP stepName, EXECUTION executionId, "
    "CLAIMED BY claimedBy, ASSIGNEE assignee, GROUP group, DEADLINE deadline",
    "List questions, the next deadline first.",
    defaults={"status": "pending"},
)
questions.showing("show", "GET questions/{question_id}", "Show a question with its request.")
questions.acting(
    "answer",
    "POST questions/answer",
    "Answer a question. The execution continues. An answer cannot be changed.",
    arguments=["questionId"],
    omitted=["correlationId", "resumeToken"],
)
questions.acting(
    "claim",
    "POST questions/{question_id}/claim",
    "Claim a question, so that others see who works on it.",
)
questions.acting("release", "POST questions/{question_id}/release", "Give up the claim of a question.")
questions.acting("delegate", "POST questions/{question_id}/delegate", "Give a question to another person.")
questions.acting(
    "reassign",
    "POST questions/{question_id}/reassign",
    "Name another person or group who may answer. This needs a reason.",
)
