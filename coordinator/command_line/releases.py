"""`coordinator releases`, `requests`, `gradual` and `pipelines`: from an upload to the end of a release."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.commands import Call, Noun, Pipeline, Release, Timeout
from coordinator.command_line.output import Form
from coordinator.command_line.session import CommandError, Exit, Session
from coordinator.command_line.texts import clean
from coordinator_client.api import Request, path

PIPELINE: Final = "pipelines/{pipeline_id}"
RELEASE: Final = f"{PIPELINE}/releases/{{release_version}}"
REQUEST: Final = f"{PIPELINE}/activation-requests"
GRADUAL: Final = f"{PIPELINE}/gradual-activations"
UPLOADED: Final = ("pipelineId", "contractVersion", "releaseVersion", "status", "descriptorDigest", "findings")

releases = Noun("releases", "Upload, compare, activate, roll back, revoke and retire releases.")
releases.listing(
    "list",
    f"GET {PIPELINE}/releases",
    "RELEASE releaseVersion, CONTRACT contractVersion, STATUS status, ACTIVE active, UPLOADED BY uploadedBy, "
    "CREATED createdAt",
    "List the releases of a pipeline, newest first.",
)
releases.showing("show", f"GET {RELEASE}", "Show a release: its artifacts, findings, signatures and documents.")


@releases.changing("upload")
def upload(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="The folder of the release, or one with no other.")] = Path("dist"),
    attach: Annotated[list[Path] | None, typer.Option(help="A signature, provenance or SBOM.")] = None,
) -> int:
    """Upload a release and wait for its verification. The status is 1 if it is rejected."""
    from pipelines.release import publish
    from pipelines.release.files import read_descriptor
    from pipelines.release.folders import descriptor_in

    with _author_errors():
        file = descriptor_in(folder)
        if session.dry_run:
            descriptor = read_descriptor(file)
            named = f"{clean(descriptor.release_version)} of {clean(descriptor.pipeline_id)}"
            session.output.text(f"would upload {named} from {clean(folder)}")
            return Exit.OK
        with _progress("upload") as progress:
            release = publish.publish(file.parent, session.client, progress=progress, attach=attach or [])
    session.output.document({name: release.get(name) for name in UPLOADED})
    return Exit.OK if release.get("status") == "REGISTERED" else Exit.NEGATIVE


@releases.reading("download", watch=False)
def download(
    session: Session,
    pipeline: Pipeline,
    release: Release,
    out: Annotated[Path, typer.Option(help="Where the folder of the release is made.")] = Path("dist"),
) -> int:
    """Download the folder of a release: its artifacts and attachments, each checked by its digest."""
    from pipelines.release.download import download

    with _author_errors(), _progress("download") as progress:
        folder = download(session.client, pipeline, release, out, progress=progress)
    session.output.document({"path": str(folder), "files": sorted(file.name for file in folder.iterdir())})
    return Exit.OK


@contextmanager
def _author_errors() -> Iterator[None]:
    """Raise `CommandError` for an error of the author's commands."""
    from pipelines.errors import DefinitionError

    try:
        yield
    except DefinitionError as error:
        is_overdue = error.code == "VERDICT_OVERDUE"
        raise CommandError("\n".join(map(str, error.errors)), Exit.OVERDUE if is_overdue else Exit.USAGE) from None


@contextmanager
def _progress(label: str) -> Iterator[Any]:
    """Show a progress bar on stderr, if that is a terminal. Yields a function that gets the bytes moved, and all."""
    if not sys.stderr.isatty():
        yield lambda _sent, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda sent, total: bar.update(task, completed=sent, total=total)


@releases.reading("diff", watch=False)
def diff(
    session: Session,
    pipeline: Pipeline,
    before: Annotated[str, typer.Argument(metavar="FROM", help="The release to compare with.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="TO", help="The release that is compared.", show_default=False)],
) -> int:
    """Compare two releases. The status is 1 if the second one breaks callers or parked work."""
    comparison = session.client.get(path("pipelines", pipeline, "comparison"), **{"from": before, "to": after})
    columns = "IMPACT impact, AREA area, KIND kind, PATH path, BEFORE before, AFTER after, REASON reason"
    session.output.items(columns, comparison.get("differences") or [])
    return Exit.NEGATIVE if comparison.get("breaking") else Exit.OK


@releases.reading("preflight")
def preflight(session: Session, pipeline: Pipeline, release: Release) -> int:
    """Say what an activation would do now. The status is 1 if it would be refused."""
    report = session.show(Request("GET", path("pipelines", pipeline, "releases", release, "preflight")))
    return Exit.OK if report.get("allowed") is True else Exit.NEGATIVE


@releases.changing("activate", f"POST {PIPELINE}/activations", arguments=["releaseVersion"])
def activate(session: Session, call: Call) -> int:
    """Activate a release. With --dry-run, run the pre-flight: the status is 1 if it would be refused."""
    pipeline, release = call.arguments["pipeline"], call.arguments["release"]
    if session.dry_run:
        return preflight(session, pipeline, release) or Exit.OK
    current = session.client.get(path("pipelines", pipeline)).get("activeReleaseVersion")
    call.request.body.setdefault("expectedReleaseVersion", current or "")
    session.act(call.request, f"Activate {release} of {pipeline}?", details={"activeNow": current})
    return Exit.OK


@releases.changing("rollback", f"POST {PIPELINE}/rollback", optional_arguments=["releaseVersion"])
def roll_back(session: Session, call: Call) -> None:
    """Activate a release again that was active before. This needs a reason. With --dry-run, show these releases."""
    if session.dry_run:
        session.show(Request("GET", f"{call.request.path}-targets"))
        return
    to = call.arguments["release"] or "the release that was active before"
    session.act(call.request, f"Roll {call.arguments['pipeline']} back to {to}?")


@releases.changing(
    "revoke", f"POST {PIPELINE}/revocations", arguments=["releaseVersion"], defaults={"openExecutions": "leave"}
)
def revoke(session: Session, call: Call) -> int:
    """Revoke a release permanently. This needs a reason. With --dry-run, say what depends on the release."""
    release, order = call.arguments["release"], call.request.body["openExecutions"]
    if session.dry_run:
        session.show(Request("GET", call.request.path, {"releaseVersion": release}))
        return Exit.OK
    question = f"Revoke {release} of {call.arguments['pipeline']} permanently, and {order} its open executions?"
    session.act(call.request, question)
    return Exit.OK


@releases.changing("retire", f"POST {PIPELINE}/retirements", arguments=["releaseVersion"])
def retire(session: Session, call: Call) -> int:
    """Retire a release that nothing needs. With --dry-run, say what needs it: the status is 1 if something does."""
    release = call.arguments["release"]
    if session.dry_run:
        shown = session.show(Request("GET", call.request.path, {"releaseVersion": release}))
        return Exit.OK if shown.get("safe") is True else Exit.NEGATIVE
    session.act(call.request, f"Retire {release} of {call.arguments['pipeline']} permanently?")
    return Exit.OK


releases.listing(
    "activations",
    f"GET {PIPELINE}/activations",
    "# sequence, RELEASE releaseVersion, KIND kind, BEFORE previousReleaseVersion, BY actor, AT activatedAt, "
    "REASON reason",
    "List the activations of a pipeline, newest first.",
)


@releases.changing("smoke", f"POST {RELEASE}/smoke")
def smoke(session: Session, call: Call, timeout: Timeout = 300.0) -> int:
    """Start a smoke test of a release and wait for its verdict. The status is 1 unless it passes."""
    started = session.act(call.request, show=False)
    if started is None:
        return Exit.OK
    address = f"{call.request.path}/{path(clean(started.get('executionId')))}"

    def verdict() -> dict[str, Any] | None:
        test = session.client.get(address)
        return test if test.get("verdict") != "PENDING" else None

    ended = session.until(verdict, timeout)
    session.output.document(ended)
    return Exit.OK if ended.get("verdict") == "PASSED" else Exit.NEGATIVE


releases.listing(
    "smoke-tests",
    f"GET {RELEASE}/smoke",
    "EXECUTION executionId, VERDICT verdict, STATUS status, CREATED createdAt",
    "List the smoke tests of a release, newest first.",
)

requests = Noun("requests", "Ask for activations, and approve or reject what others ask for.")
requests.listing(
    "list",
    f"GET {REQUEST}",
    "REQUEST requestId, STATUS status, RELEASE releaseVersion, BY actor, NEEDED approvalsNeeded, ACTIVATES activateAt, "
    "VOTING ENDS expiresAt, REASON reason",
    "List the activation requests of a pipeline, newest first.",
)
requests.showing("show", f"GET {REQUEST}/{{request_id}}", "Show an activation request with its votes.")
requests.showing("review", f"GET {REQUEST}/{{request_id}}/review", "Show what a vote on an activation request decides.")
requests.acting(
    "make",
    f"POST {REQUEST}",
    "Ask for the activation of a release.",
    arguments=["releaseVersion"],
)
VOTE: Final = f"POST {REQUEST}/{{request_id}}/votes"
FIXED: Final = ["decision", "round"]


@requests.changing("approve", VOTE, omitted=FIXED)
def approve(session: Session, call: Call) -> None:
    """Approve a request. The last approval that is needed activates the release."""
    _vote(session, call, "approve")


@requests.changing("reject", VOTE, omitted=FIXED)
def reject(session: Session, call: Call) -> None:
    """Refuse a request. This ends it."""
    _vote(session, call, "refuse")


requests.acting(
    "withdraw",
    f"POST {REQUEST}/{{request_id}}/withdrawal",
    "Withdraw a request. This needs a reason.",
    "Withdraw request {request}?",
)


def _vote(session: Session, call: Call, decision: str) -> None:
    """Vote in the round that is shown in the question, so that no vote counts for a plan that has changed meanwhile."""
    asked = session.client.get(call.request.path.removesuffix("/votes"))
    shown = ("releaseVersion", "activeReleaseVersion", "actor", "reason", "activateAt", "round", "moved")
    call.request.body.update(decision=decision, round=asked.get("round"))
    pipeline = call.arguments["pipeline"]
    question = f"{decision.capitalize()} the activation of {asked.get('releaseVersion')} of {pipeline}?"
    session.act(call.request, question, details={name: asked.get(name) for name in shown})


def _numbered(gradual: dict[str, Any]) -> dict[str, Any]:
    """Return a gradual activation with its step as people count: "2 of 3" for the index 1."""
    return {**gradual, "step": f"{gradual.get('step', 0) + 1} of {len(gradual.get('steps') or ())}"}


gradual = Noun("gradual", "Start, move on, promote and withdraw gradual activations.")
gradual.listing(
    "list",
    f"GET {GRADUAL}",
    "GRADUAL gradualActivationId, STATUS status, CANDIDATE candidateReleaseVersion, "
    "BASELINE baselineReleaseVersion, STEP step, BY actor, STARTED startedAt, CAUSE cause",
    "List the gradual activations of a pipeline, newest first.",
    row=_numbered,
)
gradual.showing("show", f"GET {GRADUAL}/{{gradual_id}}", "Show a gradual activation with its evidence.")


@gradual.changing("start", f"POST {GRADUAL}", arguments=["releaseVersion"])
def start(
    session: Session,
    call: Call,
    step: Annotated[
        list[str], typer.Option(help="SHARE:SAMPLE:MINUTES, such as 10:100:30. Repeat it.", show_default=False)
    ],
) -> None:
    """Give a candidate a share of the new executions that grows by steps."""
    call.request.body["steps"] = [_step(text) for text in step]
    named = call.arguments
    session.act(call.request, f"Activate {named['release']} of {named['pipeline']} gradually?")


def _step(text: str) -> dict[str, float]:
    try:
        share, sample, minutes = text.split(":")
        return {"share": float(share), "minimumSample": int(sample), "minimumMinutes": int(minutes)}
    except ValueError:
        raise CommandError("--step must be SHARE:SAMPLE:MINUTES, such as 10:100:30") from None


@gradual.changing("step", f"POST {GRADUAL}/{{gradual_id}}/step")
def move_on(session: Session, call: Call) -> None:
    """Move on to the next step now."""
    if "expectedStep" not in call.request.body:
        current = session.client.get(call.request.path.removesuffix("/step"))
        call.request.body["expectedStep"] = current.get("step")
    session.act(call.request, "Move on to the next step?")


gradual.acting(
    "promote",
    f"POST {GRADUAL}/{{gradual_id}}/promotion",
    "Make the candidate the active release.",
    "Make the candidate the active release?",
)
gradual.acting(
    "withdraw",
    f"POST {GRADUAL}/{{gradual_id}}/withdrawal",
    "Withdraw the candidate. This needs a reason.",
    "Withdraw the candidate?",
)

pipelines = Noun("pipelines", "List pipelines, change their policies, and pause them.")
pipelines.listing(
    "list",
    "GET pipelines",
    "PIPELINE pipelineId, ACTIVE activeReleaseVersion, CONTRACT activeContractVersion, "
    "CANDIDATE candidateReleaseVersion, SHARE candidateShare, PAUSED paused.reason",
    "List the pipelines, each with its active release.",
)
pipelines.showing("show", f"GET {PIPELINE}", "Show a pipeline with its policy.")


@pipelines.reading("active", watch=False)
def active(
    session: Session,
    at: Annotated[str, typer.Argument(help='Such as "last Tuesday 14:00", in local time.')] = "now",
    signed: Annotated[Path | None, typer.Option(help="Write the signed document to this file.")] = None,
) -> None:
    """List the releases that were active in all pipelines at a time, and who activated them."""
    from foundation import past_times

    try:
        moment = past_times.read_past(at, datetime.now().astimezone()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CommandError(f"{at!r}: it {past_times.rule_of(error)}") from None
    query = {"at": moment.isoformat().replace("+00:00", "Z")}
    answer = session.client.get("active", **query)
    if signed is not None:
        signed.write_text(json.dumps(session.client.get("active/export", **query)))
    columns = "PIPELINE pipelineId, RELEASE activation.releaseVersion, SINCE activation.activatedAt, "
    columns += "BY activation.actor, PERSON people.activatedBy.person, UNTIL replacedAt, REVOKED revokedAt, "
    columns += "REASON activation.reason"
    session.output.items(columns, answer.get("pipelines") or [])
    session.output.note(f"at {moment.astimezone():%A %d %B %Y %H:%M:%S %Z}")
    if answer.get("omitted"):
        session.output.note(f"not listed: {answer['omitted']}")


@pipelines.reading("history", f"GET {PIPELINE}/history/export", watch=False)
def history(session: Session, call: Call) -> None:
    """Print the signed history of the activations of a pipeline, as JSON."""
    session.output.value(session.client.call(call.request))


@pipelines.changing("policy")
def policy(
    session: Session,
    pipeline: Pipeline,
    changes: Annotated[
        list[str], typer.Argument(metavar="MEMBER=VALUE...", help="Such as approvals=2.", show_default=False)
    ],
) -> None:
    """Change members of the policy of a pipeline."""
    body = dict(_change(change) for change in changes)
    request = Request("PATCH", path("pipelines", pipeline), body=body)
    changed = session.act(request, f"Change the policy of {pipeline}?", show=False, details=body)
    if changed is not None:
        is_json = session.output.form is Form.JSON
        session.output.document(changed if is_json else {name: changed.get(name) for name in body})


def _change(text: str) -> tuple[str, Any]:
    """Return the name and the value of `MEMBER=VALUE`. A value that is no JSON is a text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"{text!r} is not MEMBER=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@pipelines.changing("pause", f"POST {PIPELINE}/pause")
def pause(session: Session, call: Call) -> None:
    """Keep the work of a pipeline, or of one release, from being run. This needs a reason."""
    which = call.arguments["release"] or "every release"
    session.act(call.request, f"Pause {which} of {call.arguments['pipeline']}?")


pipelines.acting("resume", f"POST {PIPELINE}/resume", "End the pause of a pipeline, or of one release.")
