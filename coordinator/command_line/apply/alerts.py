"""The sections `alertChannels` and `alertRules`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from alerts.texts import stored
from coordinator.command_line.apply.changes import Change, Ids, changed, is_same
from coordinator.command_line.apply.document import Place
from coordinator.command_line.client import Client, Request, path

MOST: Final = 10_000
_CHANNEL: Final = ("kind", "address", "secret", "enabled")
_RULE: Final = ("kind", "thresholds", "pipelineId", "channels", "enabled")


def by_name(client: Client, target: str) -> dict[str, dict[str, Any]]:
    """Return the channels or rules of the tenant by their names."""
    return {str(each.get("name")): each for each in client.pages(target, {}, MOST)}


def channel_changes(section: Place, present: Mapping[str, dict[str, Any]]) -> list[Change]:
    """Return the channels to add and to change.

    The API shows of a webhook's URL only the origin, so only that is compared.
    """
    found = []
    for name, place in section.members().items():
        values = {member: each.value for member, each in place.members(_CHANNEL, ("kind",)).items()}
        wanted = {member: stored(values["kind"], member, value) for member, value in values.items()}
        known = present.get(_trimmed(name, place))
        if known is None:
            shown = [(f"alertChannels.{name}", None, {**wanted, **_address_of(wanted)})]
            request = Request("POST", "alert-channels", body={"name": name, **wanted})
            found.append(replace(changed(shown, request), adds_channel=name))
            continue
        _require_same(place, known, wanted, ("kind",))
        differing = _differing(known, {**wanted, **_address_of(wanted)})
        lines = [(f"{place.path}.{member}", known.get(member), value) for member, value in differing.items()]
        body = {member: wanted[member] for member in differing}
        if lines:
            found.append(
                changed(lines, Request("PATCH", path("alert-channels", str(known.get("channelId"))), body=body))
            )
    return found


def rule_changes(
    section: Place, present: Mapping[str, dict[str, Any]], channels: Mapping[str, dict[str, Any]], named: set[str]
) -> list[Change]:
    """Return the rules to add and to change. They may use the `named` channels, which are there after all changes."""
    names = {str(each.get("channelId")): name for name, each in channels.items()}
    found = []
    for name, place in section.members().items():
        members = place.members(_RULE, ("kind",))
        wanted = {member: each.value for member, each in members.items()}
        if "channels" in members:
            wanted["channels"] = sorted(members["channels"].texts())
            if unknown := set(wanted["channels"]) - named:
                raise members["channels"].wrong(f"there is no alert channel {sorted(unknown)[0]!r}")
        known = present.get(_trimmed(name, place))
        if known is None:
            found.append(Change([(f"alertRules.{name}", None, wanted)], _added(name, wanted)))
            continue
        shown = {**known, "channels": sorted(names.get(str(each), str(each)) for each in known.get("channelIds") or [])}
        _require_same(place, shown, wanted, ("kind", "pipelineId"))
        if isinstance(wanted.get("thresholds"), dict):
            wanted["thresholds"] = {**(shown.get("thresholds") or {}), **wanted["thresholds"]}
        differing = _differing(shown, wanted)
        lines = [(f"{place.path}.{member}", shown.get(member), value) for member, value in differing.items()]
        if lines:
            found.append(Change(lines, _changed(str(known.get("ruleId")), differing)))
    return found


def removals(section: str, present: Mapping[str, dict[str, Any]], named: set[str]) -> list[Change]:
    """Return the removals of the channels or rules that the file does not name."""
    target, member = ("alert-channels", "channelId") if section == "alertChannels" else ("alert-rules", "ruleId")
    return [
        changed(
            [(f"{section}.{name}", each.get("kind"), None)],
            Request("POST", path(target, str(each.get(member)), "remove")),
        )
        for name, each in present.items()
        if name not in named
    ]


def _added(name: str, wanted: dict[str, Any]) -> Any:
    return lambda ids: Request("POST", "alert-rules", body={"name": name, **_with_ids(wanted, ids)})


def _changed(rule_id: str, differing: dict[str, Any]) -> Any:
    return lambda ids: Request("PATCH", path("alert-rules", rule_id), body=_with_ids(differing, ids))


def _with_ids(members: dict[str, Any], ids: Ids) -> dict[str, Any]:
    """Return members with the ids of channels in place of their names."""
    found = {member: value for member, value in members.items() if member != "channels"}
    return {**found, "channelIds": [ids[name] for name in members["channels"]]} if "channels" in members else found


def _trimmed(name: str, place: Place) -> str:
    if name != name.strip():
        raise place.wrong("the name must not begin or end with a space")
    return name


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
