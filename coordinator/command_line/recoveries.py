"""`coordinator recoveries`: from a bad release to executions that continue on a good one, and the record of it."""

from typing import Annotated, Any, Final

import typer

from coordinator.command_line.commands import Call, Noun
from coordinator.command_line.output import Form
from coordinator.command_line.session import Exit, Session
from coordinator_client.api import items_of

RECOVERY: Final = "pipelines/{pipeline_id}/releases/{release_version}/recovery"

recoveries = Noun(
    "recoveries", "Recover from a bad release: what it accepted, what can continue elsewhere, the record."
)
recoveries.showing(
    "show", f"GET {RECOVERY}", "Show what a release accepted, by the state of its executions, and what may take over."
)


@recoveries.reading("check", f"GET {RECOVERY}/continuation")
def check(
    session: Session,
    call: Call,
    every: Annotated[bool, typer.Option("--every", help="Check all failed executions, in several requests.")] = False,
) -> int:
    """Say which failed executions can start on another release, where, and why not. The status is 1 if some cannot."""
    pages = [session.client.call(call.request)]
    while every and pages[-1].get("next"):
        following = {"after": pages[-1]["next"], "to": pages[-1].get("targetReleaseVersion")}
        pages.append(session.client.get(call.request.path, **following))
    groups = [group for page in pages for group in page.get("groups") or []]
    if session.output.form is Form.JSON:
        session.output.value(pages if every else pages[0])
    else:
        starts = dict.fromkeys(group.get("start") for group in groups)
        rows = [row for start in starts for row in _rows(start, groups)]
        session.output.items("START start, EXECUTIONS count, REASON text, EXAMPLE exampleExecutionId", rows)
    last = pages[-1]
    target = last.get("targetReleaseVersion")
    if last.get("waits"):
        session.output.note(f"Release {target} accepts no executions now: {last['waits']}")
    if last.get("next"):
        session.output.note(
            f"There are more. Check them with --to {target} --after {last['next']}, or all with --every."
        )
    return Exit.NEGATIVE if any(group.get("start") == "neither" and group.get("count") for group in groups) else Exit.OK


def _rows(start: Any, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many executions can start there, and below how many of them have each reason."""
    same = [group for group in groups if group.get("start") == start]
    rows: dict[str, dict[str, Any]] = {}
    for reason in (reason for group in same for reason in group.get("reasons") or []):
        row = rows.setdefault(reason.get("text"), {"start": start, **reason, "count": 0})
        row["count"] += reason.get("count", 0)
    return [{"start": start, "count": sum(group.get("count", 0) for group in same)}, *rows.values()]


recoveries.acting(
    "draft",
    f"POST {RECOVERY}/drafts",
    "Draft a campaign over a part of what the release accepted. `coordinator campaigns start` starts it.",
    arguments=["part", "kind"],
)


@recoveries.reading("record", f"GET {RECOVERY}/record")
def record(session: Session, call: Call) -> None:
    """Say who did what about a release since it first got new executions, and the outcome of each campaign."""
    answer = session.client.call(call.request)
    session.output.items(
        "# sequence, AT at, BY actor, PERSON person, ACT act, OBJECT object, REASON reason, RESULT result.status, "
        "PENDING result.progress.pending, SKIPPED result.progress.skipped, SUCCEEDED result.results.succeeded, "
        "FAILED AGAIN result.results.failedAgain",
        items_of(answer),
    )
    if answer.get("complete") is False:
        session.output.note("Older entries are left out.")
