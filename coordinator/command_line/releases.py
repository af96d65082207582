"""`coordinator releases`: uploads, comparisons, activations and what ends a release."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line import uploading
from coordinator.command_line.arguments import Limit, Pipeline, Reason, Release, json_value, without_none
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.errors import Exit
from coordinator.command_line.session import Session, operation_key
from coordinator.command_line.text import clean

app = noun("releases", "Upload, compare, activate, roll back, revoke and retire releases.")
COLUMNS: Final = [
    ("RELEASE", "releaseVersion"),
    ("CONTRACT", "contractVersion"),
    ("STATUS", "status"),
    ("ACTIVE", "active"),
    ("UPLOADED BY", "uploadedBy"),
    ("CREATED", "createdAt"),
]
_ACTIVATIONS: Final = [
    ("#", "sequence"),
    ("RELEASE", "releaseVersion"),
    ("KIND", "kind"),
    ("BEFORE", "previousReleaseVersion"),
    ("BY", "actor"),
    ("AT", "activatedAt"),
    ("REASON", "reason"),
]
_DIFFERENCES: Final = [
    ("IMPACT", "impact"),
    ("AREA", "area"),
    ("KIND", "kind"),
    ("PATH", "path"),
    ("BEFORE", "before"),
    ("AFTER", "after"),
    ("REASON", "reason"),
]
_SMOKE: Final = [("EXECUTION", "executionId"), ("VERDICT", "verdict"), ("STATUS", "status"), ("CREATED", "createdAt")]
Expected = Annotated[
    str | None,
    typer.Option("--expected", help='Refuse unless this release is active; "" for none.', show_default=False),
]


@reading(app, "list")
def list_releases(session: Session, pipeline: Pipeline, limit: Limit = 50) -> None:
    """List the releases of a pipeline, newest first."""
    session.list(COLUMNS, path("pipelines", pipeline, "releases"), limit)


@reading(app, "show")
def show_release(session: Session, pipeline: Pipeline, release: Release) -> None:
    """Show a release: its artifacts, findings, signatures and documents."""
    session.show(path("pipelines", pipeline, "releases", release))


@changing(app, "upload")
def upload(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="The folder with pipeline-release.json and its files.")] = Path("dist"),
    attach: Annotated[list[Path] | None, typer.Option(help="A signature, provenance or SBOM.")] = None,
) -> int:
    """Upload a release and wait for its verification. The status is 1 if it is rejected."""
    if session.options.dry_run:
        return uploading.announce(session, folder)
    release = uploading.upload(session, folder, attach or [])
    session.output.document({name: release.get(name) for name in uploading.SHOWN})
    return Exit.OK if release.get("status") == "REGISTERED" else Exit.NEGATIVE


@reading(app, "diff", watch=False)
def diff(
    session: Session,
    pipeline: Pipeline,
    before: Annotated[str, typer.Argument(metavar="FROM", help="The release to compare with.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="TO", help="The release that is compared.", show_default=False)],
) -> int:
    """Compare two releases. The status is 1 if the second one breaks callers or parked work."""
    found = session.client.get(path("pipelines", pipeline, "comparison"), **{"from": before, "to": after})
    session.output.items(_DIFFERENCES, found.get("differences") or [])
    return Exit.NEGATIVE if found.get("breaking") else Exit.OK


@reading(app, "preflight")
def preflight(session: Session, pipeline: Pipeline, release: Release) -> int:
    """Say what an activation would do now. The status is 1 if it would be refused."""
    found = session.show(path("pipelines", pipeline, "releases", release, "preflight"))
    return Exit.OK if found.get("allowed") is True else Exit.NEGATIVE


@changing(app, "activate")
def activate(
    session: Session,
    pipeline: Pipeline,
    release: Release,
    reason: Reason = "",
    expected: Expected = None,
    override: Annotated[bool, typer.Option("--override", help="Activate without the approvals of the policy.")] = False,
) -> int:
    """Activate a release. With --dry-run, run the pre-flight: the status is 1 if it would be refused."""
    if session.options.dry_run:
        return preflight(session, pipeline, release) or Exit.OK
    current = session.client.get(path("pipelines", pipeline)).get("activeReleaseVersion")
    body = without_none(
        releaseVersion=release,
        reason=reason,
        expectedReleaseVersion=expected if expected is not None else current or "",
        operationKey=operation_key(),
        override=override or None,
    )
    request = Request("POST", path("pipelines", pipeline, "activations"), body=body)
    session.act(request, f"Activate {release} of {pipeline}?", details={"active now": current})
    return Exit.OK


@changing(app, "rollback")
def roll_back(
    session: Session,
    pipeline: Pipeline,
    release: Annotated[str | None, typer.Argument(help="Default: the one that was active before.")] = None,
    reason: Reason = "",
    expected: Expected = None,
) -> None:
    """Activate a release again that was active before. This needs a reason."""
    body = without_none(
        releaseVersion=release, reason=reason, expectedReleaseVersion=expected, operationKey=operation_key()
    )
    to = release or "the release that was active before"
    request = Request("POST", path("pipelines", pipeline, "rollback"), body=body)
    session.act(request, f"Roll {pipeline} back to {to}?")


@changing(app, "revoke")
def revoke(
    session: Session,
    pipeline: Pipeline,
    release: Release,
    reason: Reason = "",
    open_executions: Annotated[
        str, typer.Option(help="What happens to open executions: leave, pause or fail.")
    ] = "leave",
) -> None:
    """Revoke a release permanently: it accepts no new execution. This needs a reason."""
    body = {"releaseVersion": release, "reason": reason, "openExecutions": open_executions}
    request = Request("POST", path("pipelines", pipeline, "revocations"), body=body)
    session.act(request, f"Revoke {release} of {pipeline} permanently, and {open_executions} its open executions?")


@changing(app, "retire")
def retire(
    session: Session,
    pipeline: Pipeline,
    release: Release,
    reason: Reason = "",
    ignore_failures: Annotated[bool, typer.Option("--ignore-failures", help="Give up failed executions.")] = False,
) -> int:
    """Retire a release that nothing needs. With --dry-run, say what needs it: the status is 1 if something does."""
    target = path("pipelines", pipeline, "retirements")
    if session.options.dry_run:
        return Exit.OK if session.show(target, releaseVersion=release).get("safe") is True else Exit.NEGATIVE
    body = {"releaseVersion": release, "reason": reason, "ignoreFailures": ignore_failures}
    session.act(Request("POST", target, body=body), f"Retire {release} of {pipeline} permanently?")
    return Exit.OK


@reading(app, "activations")
def activations(session: Session, pipeline: Pipeline, limit: Limit = 50) -> None:
    """List the activations of a pipeline, newest first."""
    session.list(_ACTIVATIONS, path("pipelines", pipeline, "activations"), limit)


@changing(app, "smoke")
def smoke(
    session: Session,
    pipeline: Pipeline,
    release: Release,
    value: Annotated[str, typer.Option("--input", help="JSON, or @FILE, or - for stdin.", show_default=False)],
    key: Annotated[str, typer.Option("--key", help="The idempotency key. Default: a new one.")] = "",
    expect: Annotated[str | None, typer.Option("--expect", help="The expected result, as JSON or @FILE.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="How many seconds to wait.")] = 300.0,
) -> int:
    """Start a smoke test of a release and wait for its verdict. The status is 1 unless it passes."""
    tests = path("pipelines", pipeline, "releases", release, "smoke")
    body: dict[str, Any] = {"input": json_value(value, "--input"), "idempotencyKey": key or operation_key()}
    if expect is not None:
        body["expectedResult"] = json_value(expect, "--expect")
    started = session.act(Request("POST", tests, body=body), show=False)
    if started is None:
        return Exit.OK
    address = f"{tests}/{path(clean(started.get('executionId')))}"

    def verdict() -> dict[str, Any] | None:
        found = session.client.get(address)
        return found if found.get("verdict") != "PENDING" else None

    ended = session.until(verdict, timeout)
    session.output.document(ended)
    return Exit.OK if ended.get("verdict") == "PASSED" else Exit.NEGATIVE


@reading(app, "smoke-tests")
def smoke_tests(session: Session, pipeline: Pipeline, release: Release, limit: Limit = 50) -> None:
    """List the smoke tests of a release, newest first."""
    session.list(_SMOKE, path("pipelines", pipeline, "releases", release, "smoke"), limit)
