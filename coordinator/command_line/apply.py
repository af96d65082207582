"""`coordinator apply`: makes a tenant as a file describes it.

Each section of the file is compared with what the tenant has. The changes that are missing are printed, and then sent,
in order. Applying the same file again finds no changes.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from alerts.texts import stored
from coordinator.command_line import tenant_file
from coordinator.command_line.commands import public_key
from coordinator.command_line.output import Form
from coordinator.command_line.session import CommandError, Exit, Session, exit_of
from coordinator.command_line.tenant_file import Place
from coordinator.command_line.texts import clean
from coordinator_client.api import Client, Request, operation, path
from coordinator_client.errors import ClientError, Refused

SECTIONS: Final = (
    "tenant",
    "pipelines",
    "trustedKeys",
    "members",
    "alertChannels",
    "alertRules",
    "schedules",
    "complete",
)
COMPLETABLE: Final = ("trustedKeys", "members", "alertChannels", "alertRules", "schedules")
MOST: Final = 100_000
"""The largest number of keys, members, channels, rules and schedules."""
NAMED: Final = {
    "alertChannels": ("alert-channels", "channelId"),
    "alertRules": ("alert-rules", "ruleId"),
    "schedules": ("schedules", "scheduleId"),
}
"""The sections whose items have names: where the API lists them, and the member with their ids."""
_CHANNEL: Final = ("kind", "address", "secret", "enabled")
_RULE: Final = ("kind", "thresholds", "pipelineId", "channels", "enabled")
_SCHEDULE: Final = (
    *("pipelineId", "cron", "timeZone", "exceptions", "input", "releaseVersion", "overlap", "catchUpMinutes"),
    *("startsAt", "endsAt"),
)

Ids = Mapping[str, str]
"""The ids of the tenant's alert channels by their names."""
Named = Mapping[str, dict[str, Any]]
"""Channels, rules or schedules of the tenant by their names."""


@dataclass(frozen=True, slots=True)
class Change:
    """One request that is missing. `lines` say what it changes: path, value before, value after; None is absence.

    Its body may have a member `channels`: names of alert channels, also of those that earlier changes add, in place of
    their ids. `adds_channel` is the name of the channel that this one adds.
    """

    lines: Sequence[tuple[str, Any, Any]]
    request: Request
    adds_channel: str = ""


def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The file that describes the tenant.", show_default=False)],
) -> int:
    """Make the tenant as a file describes it. With --dry-run, print the plan: the status is 1 if it is not empty."""
    wanted = tenant_file.read(file).members(SECTIONS)
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
    changes: list[Change] = []
    channels = by_name(client, "alertChannels") if {"alertChannels", "alertRules"} & wanted.keys() else {}
    named = wanted["alertChannels"].members() if "alertChannels" in wanted else {}
    changes += channel_changes(wanted["alertChannels"], channels) if named else []
    if "pipelines" in wanted:  # after the channels that policies name
        changes += policy_changes(wanted["pipelines"], client)
    if "trustedKeys" in wanted:
        changes += key_changes(wanted["trustedKeys"], client, complete="trustedKeys" in complete)
    if "members" in wanted:
        changes += member_changes(wanted["members"], client, complete="members" in complete)
    if "alertRules" in wanted:
        rules = by_name(client, "alertRules")
        remaining = set(named) if "alertChannels" in complete else channels.keys() | named.keys()
        changes += rule_changes(wanted["alertRules"], rules, channels, remaining)
        if "alertRules" in complete:
            changes += removals("alertRules", rules, wanted["alertRules"].members())
    if "schedules" in wanted:
        schedules = by_name(client, "schedules")
        changes += schedule_changes(wanted["schedules"], schedules)
        if "schedules" in complete:
            changes += removals("schedules", schedules, wanted["schedules"].members())
    if "alertChannels" in complete:
        changes += removals("alertChannels", channels, named)
    return changes, {name: str(channel.get("channelId")) for name, channel in channels.items()}


def _complete(wanted: dict[str, Place]) -> set[str]:
    """Return the sections that name everything that the tenant may have."""
    if "complete" not in wanted:
        return set()
    for entry in wanted["complete"].items():
        if entry.text() not in COMPLETABLE:
            raise entry.wrong(f"must be one of {', '.join(COMPLETABLE)}")
        if entry.value not in wanted:
            raise entry.wrong(f"there is no section {entry.value}")
    return set(wanted["complete"].texts())


def show(session: Session, changes: Sequence[Change]) -> None:
    lines = [line for change in changes for line in change.lines]
    if session.output.form is Form.JSON:
        session.output.value([{"path": where, "before": before, "after": after} for where, before, after in lines])
        return
    for where, before, after in lines:
        mark = "+" if before is None else "-" if after is None else "~"
        values = [json.dumps(value, ensure_ascii=False) for value in (before, after) if value is not None]
        session.output.text(f"{mark} {clean(where)}: {' -> '.join(values)}")
    session.output.text(f"{len(lines)} to change" if lines else "nothing to change")


def send(session: Session, changes: Sequence[Change], channel_ids: Ids) -> None:
    """Send the requests in order. Raises `CommandError` at the first that is refused, and says how many were sent."""
    ids = dict(channel_ids)
    for count, change in enumerate(changes):
        try:
            response = session.client.call(_with_ids(change.request, ids))
        except ClientError as error:
            paths = ", ".join(where for where, _, _ in change.lines)
            message = f"{error}\n  at {paths}, after {count} of {len(changes)} requests; repeat to continue"
            raise CommandError(message, exit_of(error)) from None
        if change.adds_channel:
            ids[change.adds_channel] = str(response.get("channelId"))


def _with_ids(request: Request, ids: Ids) -> Request:
    if not isinstance(request.body, dict) or "channels" not in request.body:
        return request
    body = {name: value for name, value in request.body.items() if name != "channels"}
    return replace(request, body={**body, "channelIds": [ids[name] for name in request.body["channels"]]})


def is_same(present: Any, wanted: Any) -> bool:
    """Return True if two JSON values are equal. True is not 1."""
    if isinstance(present, bool) or isinstance(wanted, bool):
        return present is wanted
    return bool(present == wanted)


def policy_changes(section: Place, client: Client) -> list[Change]:
    """Return the changes to policies. Raises `ClientError` for unknown pipelines and members."""
    changes = []
    for pipeline, place in section.members().items():
        members = place.members(("policy",))
        if "policy" not in members:
            continue
        present = _pipeline(client, pipeline, place)
        known = present.keys() & operation("PATCH pipelines/{pipeline_id}").members
        wanted = {name: member.value for name, member in members["policy"].members(sorted(known)).items()}
        if body := _differing(present, wanted):
            lines = _lines(members["policy"], present, body)
            changes.append(Change(lines, Request("PATCH", path("pipelines", pipeline), body=body)))
    return changes


def _pipeline(client: Client, pipeline: str, place: Place) -> dict[str, Any]:
    try:
        return client.get(path("pipelines", pipeline))
    except Refused as error:
        if error.status not in {404, 410}:
            raise
        message = f"{place.wrong('the tenant has no such pipeline; upload a release of it first')}"
        raise CommandError(message, Exit.NOT_FOUND) from None


def key_changes(section: Place, client: Client, *, complete: bool) -> list[Change]:
    """Return the keys to add and, if the section is `complete`, those to revoke.

    Raises `CommandError` for a key that is revoked, or has another name: neither can be changed.
    """
    wanted = [(place, *_key(place)) for place in section.items()]
    present = {_bare(key.get("publicKey")): key for key in client.pages("trusted-keys", {}, MOST)}
    changes, named = [], set()
    for place, name, pem in wanted:
        named.add(_bare(pem))
        known = present.get(_bare(pem))
        if known is None:
            body = {"name": name, "publicKey": pem}
            changes.append(
                Change([(f"trustedKeys.{name}", None, "trusted")], Request("POST", "trusted-keys", body=body))
            )
        elif known.get("revocation") is not None:
            raise place.wrong(f"the key {name} is revoked, which is final")
        elif known.get("name") != name:
            raise place.wrong(f"the key has the name {known.get('name')!r}, which cannot be changed")
    if complete:
        changes += [_revoked(key) for pem, key in present.items() if pem not in named and key.get("revocation") is None]
    return changes


def _key(place: Place) -> tuple[str, str]:
    """Return the name and the PEM text of a key. Files are relative to the file that names them."""
    members = place.members(("name", "publicKey", "publicKeyFile"), ("name",))
    if ("publicKey" in members) == ("publicKeyFile" in members):
        raise place.wrong("needs either publicKey or publicKeyFile")
    if "publicKey" in members:
        return members["name"].text(), members["publicKey"].text()
    return members["name"].text(), public_key(place.file.parent / members["publicKeyFile"].text())


def _revoked(key: dict[str, Any]) -> Change:
    body = {"reason": "it is not in the file that describes the tenant"}
    request = Request("POST", path("trusted-keys", str(key.get("keyId")), "revoke"), body=body)
    return Change([(f"trustedKeys.{key.get('name')}", "trusted", None)], request)


def _bare(pem: Any) -> str:
    """Return the text of a key without headers and white space."""
    return "".join(line.strip() for line in str(pem).splitlines() if not line.startswith("-----"))


def member_changes(section: Place, client: Client, *, complete: bool) -> list[Change]:
    """Return the roles to give and to take, and the groups to set. Others lose their roles if it is `complete`."""
    wanted, grouped = dict[str, set[str]](), dict[str, list[str]]()
    for name, place in section.members().items():
        members = place.members(("roles", "groups"), ("roles",)) if isinstance(place.value, dict) else {"roles": place}
        wanted[name] = set(members["roles"].texts())
        if "groups" in members and wanted[name]:
            grouped[name] = sorted(members["groups"].texts())
    present, groups = dict[str, set[str]](), dict[str, list[str]]()
    for member in client.pages("members", {}, MOST):
        present.setdefault(str(member.get("username")), set()).add(str(member.get("role")))
        groups[str(member.get("username"))] = member.get("groups") or []
    if complete:
        wanted = {**{name: set[str]() for name in present}, **wanted}
    given, taken = [], []
    for name, roles in wanted.items():
        have = present.get(name, set())
        given += [_role(name, None, role, "members") for role in sorted(roles - have)]
        taken += [_role(name, role, None, "members/remove") for role in sorted(have - roles)]
    differing = [name for name, after in grouped.items() if groups.get(name, []) != after]
    set_to = [_groups(name, groups.get(name), grouped[name]) for name in differing]
    return [*given, *taken, *set_to]  # in this order, so that no member is without a role in between


def _role(username: str, taken: str | None, given: str | None, target: str) -> Change:
    body = {"username": username, "role": given or taken}
    return Change([(f"members.{username}", taken, given)], Request("POST", target, body=body))


def _groups(username: str, before: list[str] | None, after: list[str]) -> Change:
    request = Request("POST", "members/groups", body={"username": username, "groups": after})
    return Change([(f"members.{username}.groups", before or None, after or None)], request)


def by_name(client: Client, section: str) -> Named:
    target, _ = NAMED[section]
    return {str(row.get("name")): row for row in client.pages(target, {}, MOST)}


def channel_changes(section: Place, present: Named) -> list[Change]:
    """Return the channels to add and to change.

    The API shows of a webhook's URL only the origin, so only that is compared.
    """
    changes = []
    for name, place in section.members().items():
        values = {member: value.value for member, value in place.members(_CHANNEL, ("kind",)).items()}
        wanted = {member: stored(values["kind"], member, value) for member, value in values.items()}
        known = present.get(_trimmed(name, place))
        shown = {**wanted, **_address_of(wanted)}
        if known is None:
            changes.append(_added("alertChannels", name, wanted, shown))
            continue
        _require_same(place, known, wanted, ("kind",))
        differing = _differing(known, shown)
        changes += _changed("alertChannels", place, known, differing, {member: wanted[member] for member in differing})
    return changes


def rule_changes(section: Place, present: Named, channels: Named, named: set[str]) -> list[Change]:
    """Return the rules to add and to change. They may use the `named` channels, which are there after all changes."""
    names = {str(channel.get("channelId")): name for name, channel in channels.items()}
    changes = []
    for name, place in section.members().items():
        members = place.members(_RULE, ("kind",))
        wanted = {member: value.value for member, value in members.items()}
        if "channels" in members:
            wanted["channels"] = sorted(members["channels"].texts())
            if unknown := set(wanted["channels"]) - named:
                raise members["channels"].wrong(f"there is no alert channel {sorted(unknown)[0]!r}")
        known = present.get(_trimmed(name, place))
        if known is None:
            changes.append(_added("alertRules", name, wanted, wanted))
            continue
        shown = {
            **known,
            "channels": sorted(names.get(str(channel), str(channel)) for channel in known.get("channelIds") or []),
        }
        _require_same(place, shown, wanted, ("kind", "pipelineId"))
        if isinstance(wanted.get("thresholds"), dict):
            wanted["thresholds"] = {**(shown.get("thresholds") or {}), **wanted["thresholds"]}
        differing = _differing(shown, wanted)
        changes += _changed("alertRules", place, shown, differing, differing)
    return changes


def schedule_changes(section: Place, present: Named) -> list[Change]:
    """Return the schedules to add and to change."""
    changes = []
    for name, place in section.members().items():
        wanted = {
            member: value.value for member, value in place.members(_SCHEDULE, ("pipelineId", "cron", "input")).items()
        }
        known = present.get(_trimmed(name, place))
        if known is None:
            changes.append(_added("schedules", name, wanted, wanted))
            continue
        _require_same(place, known, wanted, ("pipelineId",))
        differing = _differing(known, wanted)
        changes += _changed("schedules", place, known, differing, differing)
    return changes


def _added(section: str, name: str, wanted: Mapping[str, Any], shown: Mapping[str, Any]) -> Change:
    target, _ = NAMED[section]
    request = Request("POST", target, body={"name": name, **wanted})
    return Change([(f"{section}.{name}", None, shown)], request, name if section == "alertChannels" else "")


def _changed(
    section: str, place: Place, present: Mapping[str, Any], differing: Mapping[str, Any], body: Mapping[str, Any]
) -> list[Change]:
    if not differing:
        return []
    target, member = NAMED[section]
    request = Request("PATCH", path(target, str(present.get(member))), body=body)
    return [Change(_lines(place, present, differing), request)]


def removals(section: str, present: Named, named: Collection[str]) -> list[Change]:
    target, member = NAMED[section]
    return [
        Change(
            [(f"{section}.{name}", row.get("kind") or row.get("cron"), None)],
            Request("POST", path(target, str(row.get(member)), "remove")),
        )
        for name, row in present.items()
        if name not in named
    ]


def _trimmed(name: str, place: Place) -> str:
    if name != name.strip():
        raise place.wrong("the name must not begin or end with a space")
    return name


def _lines(place: Place, present: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(f"{place.path}.{member}", present.get(member), value) for member, value in wanted.items()]


def _differing(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in wanted.items() if not is_same(present.get(member), value)}


def _require_same(place: Place, present: Mapping[str, Any], wanted: Mapping[str, Any], fixed: tuple[str, ...]) -> None:
    for member in fixed:
        if member in wanted and not is_same(present.get(member), wanted[member]):
            raise place.wrong(f"{member} is {present.get(member)!r} and cannot be changed; use another name")


def _address_of(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the address as the API shows it: of a webhook's URL only the origin, and whether there is more."""
    address = wanted.get("address")
    if wanted.get("kind") != "webhook" or not isinstance(address, str):
        return {}
    try:
        parts = urlsplit(address)
    except ValueError:
        return {}
    more = "…" if parts.path.strip("/") or parts.query else ""
    return {"address": f"{parts.scheme}://{parts.netloc}/{more}"}
