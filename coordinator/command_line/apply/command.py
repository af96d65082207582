"""The command `coordinator apply`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from coordinator.command_line.apply import alerts, document, keys, members, policies
from coordinator.command_line.apply.changes import Change, Ids, send, show
from coordinator.command_line.apply.document import Place
from coordinator.command_line.commands import changing
from coordinator.command_line.errors import Exit
from coordinator.command_line.session import Session

SECTIONS: Final = ("tenant", "pipelines", "trustedKeys", "members", "alertChannels", "alertRules", "complete")
COMPLETABLE: Final = ("trustedKeys", "members", "alertChannels", "alertRules")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    changing(app, "apply")(apply)


def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The file that describes the tenant.", show_default=False)],
) -> int:
    """Make the tenant as a file describes it. With --dry-run, print the plan: the status is 1 if it is not empty."""
    sections = document.read(file).members(SECTIONS)
    tenant = session.client.connection.tenant
    if "tenant" in sections and sections["tenant"].text() != tenant:
        raise sections["tenant"].wrong(f"the file is about another tenant than {tenant!r}")
    changes, channel_ids = plan(session, sections)
    show(session, changes)
    if session.options.dry_run:
        return Exit.NEGATIVE if changes else Exit.OK
    if changes:
        session.confirm(f"Change tenant {tenant} of {session.client.connection.url}?", {})
        send(session, changes, channel_ids)
        session.output.note(f"sent {len(changes)} requests")
    return Exit.OK


def plan(session: Session, sections: dict[str, Place]) -> tuple[list[Change], Ids]:
    """Return the changes that are missing, in the order in which to send them, and the ids of alert channels."""
    complete = _complete(sections)
    client = session.client
    found: list[Change] = []
    if "pipelines" in sections:
        found += policies.changes(sections["pipelines"], client)
    if "trustedKeys" in sections:
        found += keys.changes(sections["trustedKeys"], client, complete="trustedKeys" in complete)
    if "members" in sections:
        found += members.changes(sections["members"], client, complete="members" in complete)
    if "alertChannels" not in sections and "alertRules" not in sections:
        return found, {}
    channels = alerts.by_name(client, "alert-channels")
    wanted = sections["alertChannels"].members() if "alertChannels" in sections else {}
    found += alerts.channel_changes(sections["alertChannels"], channels) if wanted else []
    if "alertRules" in sections:
        rules = alerts.by_name(client, "alert-rules")
        remaining = set(wanted) if "alertChannels" in complete else channels.keys() | wanted.keys()
        found += alerts.rule_changes(sections["alertRules"], rules, channels, remaining)
        if "alertRules" in complete:
            found += alerts.removals("alertRules", rules, set(sections["alertRules"].members()))
    if "alertChannels" in complete:
        found += alerts.removals("alertChannels", channels, set(wanted))
    return found, {name: str(each.get("channelId")) for name, each in channels.items()}


def _complete(sections: dict[str, Place]) -> set[str]:
    """Return the sections that name everything that the tenant may have."""
    if "complete" not in sections:
        return set()
    for each in sections["complete"].items():
        if each.text() not in COMPLETABLE:
            raise each.wrong(f"must be one of {', '.join(COMPLETABLE)}")
        if each.value not in sections:
            raise each.wrong(f"there is no section {each.value}")
    return set(sections["complete"].texts())
