"""Commands without a noun: `status`, `stranded`, `drift`, `holds` and `quotas`."""

from collections import Counter
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.arguments import Limit
from coordinator.command_line.client import items_of, path
from coordinator.command_line.commands import reading
from coordinator.command_line.errors import CommandError, Exit, Refused
from coordinator.command_line.session import Session
from coordinator.command_line.text import member

_STRANDED: Final = [
    ("PIPELINE", "pin.pipelineId"),
    ("RELEASE", "pin.releaseVersion"),
    ("EXECUTIONS", "executions"),
    ("SINCE", "since"),
    ("WHY", "reasons"),
]
_DRIFT: Final = [
    ("KIND", "kind"),
    ("PIPELINE", "pipelineId"),
    ("RELEASE", "releaseVersion"),
    ("SUBJECT", "subject"),
    ("NAME", "name"),
    ("SINCE", "since"),
    ("REMEDY", "remedy"),
]
_HOLDS: Final = [
    ("PIPELINE", "pipelineId"),
    ("RELEASE", "releaseVersion"),
    ("EXECUTION", "executionId"),
    ("SINCE", "since"),
    ("BY", "by"),
    ("REFUSES", "refusesSubmissions"),
    ("REASON", "reason"),
]
MOST_COUNTED: Final = 1000


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    reading(app, "status")(status)
    reading(app, "stranded")(stranded)
    reading(app, "drift")(drift)
    reading(app, "holds")(holds)
    reading(app, "quotas")(quotas)


def status(session: Session) -> int:
    """Show the health of the coordinator, and what needs attention in the tenant.

    The status is 1 if a part is down, a kind of process is missing, migrations are pending, outcomes are read late, or
    work is stranded.
    """
    health = session.client.ready()
    workers = Counter(str(each.get("state")) for each in session.client.pages("workers", {}, MOST_COUNTED))
    lost = items_of(session.client.get("stranded"))
    shown: dict[str, Any] = {
        "coordinator": health,
        "processes": _processes(session),
        "workers": dict(sorted(workers.items())),
        "stranded": sum(each["executions"] for each in lost if isinstance(each.get("executions"), int)),
        "pauses": len(list(session.client.pages("holds", {}, MOST_COUNTED))),
        "drift": len(items_of(session.client.get("drift"))),
    }
    session.output.document({name: value for name, value in shown.items() if value is not None})
    down = any(part != "UP" for part in health.values())
    lacking = [member(shown["processes"], name) for name in ("missing", "pendingMigrations", "outcomeDelaySeconds")]
    return Exit.NEGATIVE if down or lost or any(lacking) else Exit.OK


def _processes(session: Session) -> Any:
    """Return what the coordinator knows about its processes; None if it, or the token, does not tell."""
    try:
        return session.client.get("status")
    except Refused as error:
        if error.status in {Exit.NOT_FOUND, Exit.DENIED}:
            return None
        raise
    except CommandError:
        return None


def stranded(session: Session) -> int:
    """List the work that no worker may run, by release. The status is 1 if there is any."""
    found = items_of(session.client.get("stranded"))
    session.output.items(_STRANDED, found)
    return Exit.NEGATIVE if found else Exit.OK


def drift(
    session: Session,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Only of this pipeline.", show_default=False)
    ] = None,
) -> int:
    """List where reality differs from the active releases. The status is 1 if it does."""
    found = items_of(session.client.get(path("pipelines", pipeline, "drift") if pipeline else "drift"))
    session.output.items(_DRIFT, found)
    return Exit.NEGATIVE if found else Exit.OK


def holds(session: Session, limit: Limit = 100) -> None:
    """List what is paused: executions, releases and pipelines."""
    session.list(_HOLDS, "holds", limit)


def quotas(session: Session) -> None:
    """Show the quotas of the tenant, and how much of them is used."""
    session.show("quotas")
