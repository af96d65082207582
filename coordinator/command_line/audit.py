"""`coordinator audit`: the audit log."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.arguments import Limit
from coordinator.command_line.commands import noun, reading
from coordinator.command_line.errors import CommandError
from coordinator.command_line.session import Session

app = noun("audit", "Read and export the audit log.")
_COLUMNS: Final = [
    ("#", "sequence"),
    ("AT", "at"),
    ("BY", "actor"),
    ("ACT", "act"),
    ("OBJECT", "object"),
    ("OUTCOME", "outcome"),
    ("REASON", "reason"),
]
Act = Annotated[str | None, typer.Option("--act", help="Only this act, such as release.activate.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Only by this person or token.")]
Object = Annotated[str | None, typer.Option("--object", help="Only on this object.")]
Outcome = Annotated[str | None, typer.Option("--outcome", help="Only granted, denied or failed.")]
Since = Annotated[datetime | None, typer.Option("--from", help="The earliest moment.")]
Until = Annotated[datetime | None, typer.Option("--to", help="The first moment after.")]


@reading(app, "list")
def list_audit(
    session: Session,
    act: Act = None,
    actor: Actor = None,
    object_: Object = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
) -> None:
    """List the entries of the audit log, newest first."""
    session.list(_COLUMNS, "audit", limit, **_filters(act, actor, object_, outcome, since, until))


@reading(app, "export", watch=False)
def export(
    session: Session,
    form: Annotated[str, typer.Option("--format", help="ndjson or csv.")] = "ndjson",
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: stdout.")] = None,
    act: Act = None,
    actor: Actor = None,
    object_: Object = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write the entries of the audit log to a file, oldest first, with the hashes of their chain.

    `coordinator verify_audit`, on a host of the coordinator, verifies the chain.
    """
    filters = _filters(act, actor, object_, outcome, since, until)
    if out is None:
        if sys.stdout.isatty():
            raise CommandError("an export is not for a terminal; give --out FILE, or redirect stdout")
        session.client.download("audit/export", sys.stdout.buffer.write, format=form, **filters)
        sys.stdout.buffer.flush()
        return
    partial = out.with_name(f"{out.name}.partial")
    try:
        with partial.open("wb") as file:
            session.client.download("audit/export", file.write, format=form, **filters)
        partial.replace(out)
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _filters(
    act: str | None,
    actor: str | None,
    object_: str | None,
    outcome: str | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    return {
        "act": act,
        "actor": actor,
        "object": object_,
        "outcome": outcome,
        "from": since.astimezone().isoformat() if since else None,
        "to": until.astimezone().isoformat() if until else None,
    }
