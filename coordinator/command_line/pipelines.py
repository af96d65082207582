"""`coordinator pipelines`: the tenant's pipelines, their policies and pauses."""

import json
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.arguments import Limit, Pipeline, Reason, without_none
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.errors import CommandError
from coordinator.command_line.session import Session

app = noun("pipelines", "List pipelines, change their policies, and pause them.")
COLUMNS: Final = [
    ("PIPELINE", "pipelineId"),
    ("ACTIVE", "activeReleaseVersion"),
    ("CONTRACT", "activeContractVersion"),
    ("CANDIDATE", "candidateReleaseVersion"),
    ("SHARE", "candidateShare"),
    ("PAUSED", "paused.reason"),
]
OneRelease = Annotated[str | None, typer.Option("--release", help="Only this release.", show_default=False)]


@reading(app, "list")
def list_pipelines(session: Session, limit: Limit = 50) -> None:
    """List the pipelines, each with its active release."""
    session.list(COLUMNS, "pipelines", limit)


@reading(app, "show")
def show_pipeline(session: Session, pipeline: Pipeline) -> None:
    """Show a pipeline with its policy."""
    session.show(path("pipelines", pipeline))


@changing(app, "policy")
def policy(
    session: Session,
    pipeline: Pipeline,
    changes: Annotated[
        list[str], typer.Argument(metavar="MEMBER=VALUE...", help="Such as approvals=2.", show_default=False)
    ],
) -> None:
    """Change members of the policy of a pipeline."""
    body = dict(_change(each) for each in changes)
    request = Request("PATCH", path("pipelines", pipeline), body=body)
    session.act(request, f"Change the policy of {pipeline}?", details=body)


@changing(app, "pause")
def pause(
    session: Session,
    pipeline: Pipeline,
    reason: Reason = "",
    release: OneRelease = None,
    refuse: Annotated[bool, typer.Option("--refuse-submissions", help="Refuse new executions meanwhile.")] = False,
) -> None:
    """Keep the work of a pipeline, or of one release, from being run. This needs a reason."""
    body = without_none(reason=reason, releaseVersion=release, refuseSubmissions=refuse)
    request = Request("POST", path("pipelines", pipeline, "pause"), body=body)
    session.act(request, f"Pause {release or 'every release'} of {pipeline}?")


@changing(app, "resume")
def resume(session: Session, pipeline: Pipeline, reason: Reason = "", release: OneRelease = None) -> None:
    """End the pause of a pipeline, or of one release."""
    body = without_none(reason=reason, releaseVersion=release)
    session.act(Request("POST", path("pipelines", pipeline, "resume"), body=body))


def _change(text: str) -> tuple[str, Any]:
    """Return the name and the value of `MEMBER=VALUE`. A value that is no JSON is a text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"{text!r} is not MEMBER=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
