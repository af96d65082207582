"""The command `coordinator apply`: plans, shows and sends what differs between a tenant and its file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from coordinator.command_line.apply import document, sections
from coordinator.command_line.apply.document import Place
from coordinator.command_line.apply.sections import Change
from coordinator.command_line.errors import CommandError, Exit, exit_of
from coordinator.command_line.output import Form, clean
from coordinator.command_line.session import Session
from coordinator_client.api import Request
from coordinator_client.errors import ClientError

SECTIONS: Final = ("tenant", "pipelines", "trustedKeys", "members", "alertChannels", "alertRules", "complete")
COMPLETABLE: Final = ("trustedKeys", "members", "alertChannels", "alertRules")

Ids = Mapping[str, str]
"""The ids of the tenant's alert channels by their names."""


def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The file that describes the tenant.", show_default=False)],
) -> int:
    """Make the tenant as a file describes it. With --dry-run, print the plan: the status is 1 if it is not empty."""
    wanted = document.read(file).members(SECTIONS)
    tenant = session.client.connection.tenant
    if "tenant" in wanted and wanted["tenant"].text() != tenant:
        raise wanted["tenant"].wrong(f"the file is about another tenant than {tenant!r}")
    changes, channel_ids = plan(session, wanted)
    show(session, changes)
    if session.dry_run:
        return Exit.NEGATIVE if changes else Exit.OK
    if changes:
        session.confirm(f"Change tenant {tenant} of {session.client.connection.url}?", {})
        send(session, changes, channel_ids)
        session.output.note(f"sent {len(changes)} requests")
    return Exit.OK


def plan(session: Session, wanted: dict[str, Place]) -> tuple[list[Change], Ids]:
    """Return the changes that are missing, in the order in which to send them, and the ids of alert channels."""
    complete = _complete(wanted)
    client = session.client
    found: list[Change] = []
    if "pipelines" in wanted:
        found += sections.policy_changes(wanted["pipelines"], client)
    if "trustedKeys" in wanted:
        found += sections.key_changes(wanted["trustedKeys"], client, complete="trustedKeys" in complete)
    if "members" in wanted:
        found += sections.member_changes(wanted["members"], client, complete="members" in complete)
    if "alertChannels" not in wanted and "alertRules" not in wanted:
        return found, {}
    channels = sections.by_name(client, "alert-channels")
    named = wanted["alertChannels"].members() if "alertChannels" in wanted else {}
    found += sections.channel_changes(wanted["alertChannels"], channels) if named else []
    if "alertRules" in wanted:
        rules = sections.by_name(client, "alert-rules")
        remaining = set(named) if "alertChannels" in complete else channels.keys() | named.keys()
        found += sections.rule_changes(wanted["alertRules"], rules, channels, remaining)
        if "alertRules" in complete:
            found += sections.removals("alertRules", rules, set(wanted["alertRules"].members()))
    if "alertChannels" in complete:
        found += sections.removals("alertChannels", channels, set(named))
    return found, {name: str(each.get("channelId")) for name, each in channels.items()}


def _complete(wanted: dict[str, Place]) -> set[str]:
    """Return the sections that name everything that the tenant may have."""
    if "complete" not in wanted:
        return set()
    for each in wanted["complete"].items():
        if each.text() not in COMPLETABLE:
            raise each.wrong(f"must be one of {', '.join(COMPLETABLE)}")
        if each.value not in wanted:
            raise each.wrong(f"there is no section {each.value}")
    return set(wanted["complete"].texts())


def show(session: Session, changes: Sequence[Change]) -> None:
    """Print the plan."""
    lines = [line for change in changes for line in change.lines]
    if session.output.form is Form.JSON:
        session.output.value([{"path": path, "before": before, "after": after} for path, before, after in lines])
        return
    for path, before, after in lines:
        mark = "+" if before is None else "-" if after is None else "~"
        values = [json.dumps(value) for value in (before, after) if value is not None]
        session.output.text(f"{mark} {clean(path)}: {' -> '.join(values)}")
    session.output.text(f"{len(lines)} to change" if lines else "nothing to change")


def send(session: Session, changes: Sequence[Change], channel_ids: Ids) -> None:
    """Send the requests in order. Raises `CommandError` at the first that is refused, and says how many were sent."""
    ids = dict(channel_ids)
    for count, change in enumerate(changes):
        try:
            response = session.client.call(_with_ids(change.request, ids))
        except ClientError as error:
            paths = ", ".join(path for path, _, _ in change.lines)
            message = f"{error}\n  at {paths}, after {count} of {len(changes)} requests; repeat to continue"
            raise CommandError(message, exit_of(error)) from None
        if change.adds_channel:
            ids[change.adds_channel] = str(response.get("channelId"))


def _with_ids(request: Request, ids: Ids) -> Request:
    """Return a request with the ids of alert channels in place of their names."""
    if not isinstance(request.body, dict) or "channels" not in request.body:
        return request
    body = {name: value for name, value in request.body.items() if name != "channels"}
    return replace(request, body={**body, "channelIds": [ids[name] for name in request.body["channels"]]})
