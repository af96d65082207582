"""The sections of the file: what each lacks in the tenant, as requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from alerts.texts import stored
from coordinator.command_line.apply.document import Place
from coordinator.command_line.arguments import public_key
from coordinator.command_line.errors import CommandError, Exit
from coordinator_client.api import Client, Request, path
from coordinator_client.errors import Refused

MOST: Final = 100_000
"""The largest number of keys, members, channels and rules."""
NO_POLICY: Final = frozenset(
    {"paused", "pipelineId", "application", "createdAt", "activeReleaseVersion", "activeContractVersion"}
    | {"candidateReleaseVersion", "candidateShare"}
)
"""The members of a pipeline that are not members of its policy."""
_CHANNEL: Final = ("kind", "address", "secret", "enabled")
_RULE: Final = ("kind", "thresholds", "pipelineId", "channels", "enabled")

Named = Mapping[str, dict[str, Any]]
"""Channels or rules of the tenant by their names."""


@dataclass(frozen=True, slots=True)
class Change:
    """One request that is missing. `lines` say what it changes: path, value before, value after; None is absence.

    Its body may have a member `channels`: names of alert channels, also of those that earlier changes add, in place of
    their ids. `adds_channel` is the name of the channel that this one adds.
    """

    lines: Sequence[tuple[str, Any, Any]]
    request: Request
    adds_channel: str = ""


def is_same(present: Any, wanted: Any) -> bool:
    """Return True if two JSON values are equal. True is not 1."""
    if isinstance(present, bool) or isinstance(wanted, bool):
        return present is wanted
    return bool(present == wanted)


def policy_changes(section: Place, client: Client) -> list[Change]:
    """Return the changes to policies. Raises `ClientError` for unknown pipelines and members."""
    found = []
    for pipeline, place in section.members().items():
        members = place.members(("policy",))
        if "policy" not in members:
            continue
        present = _pipeline(client, pipeline, place)
        wanted = members["policy"].members(sorted(present.keys() - NO_POLICY))
        body = {name: each.value for name, each in wanted.items() if not is_same(present[name], each.value)}
        lines = [(wanted[name].path, present[name], value) for name, value in body.items()]
        if lines:
            found.append(Change(lines, Request("PATCH", path("pipelines", pipeline), body=body)))
    return found


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
    present = {_bare(each.get("publicKey")): each for each in client.pages("trusted-keys", {}, MOST)}
    found, named = [], set()
    for place, name, pem in wanted:
        named.add(_bare(pem))
        known = present.get(_bare(pem))
        if known is None:
            body = {"name": name, "publicKey": pem}
            found.append(Change([(f"trustedKeys.{name}", None, "trusted")], Request("POST", "trusted-keys", body=body)))
        elif known.get("revocation") is not None:
            raise place.wrong(f"the key {name} is revoked, which is final")
        elif known.get("name") != name:
            raise place.wrong(f"the key has the name {known.get('name')!r}, which cannot be changed")
    if complete:
        found += [_revoked(key) for pem, key in present.items() if pem not in named and key.get("revocation") is None]
    return found


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
    """Return the roles to give and to take. Members whom the file does not name lose theirs if it is `complete`."""
    wanted = {name: set(place.texts()) for name, place in section.members().items()}
    present: dict[str, set[str]] = {}
    for each in client.pages("members", {}, MOST):
        present.setdefault(str(each.get("username")), set()).add(str(each.get("role")))
    if complete:
        wanted = {**{name: set[str]() for name in present}, **wanted}
    given, taken = [], []
    for name, roles in wanted.items():
        have = present.get(name, set())
        for role in sorted(roles - have):
            body = {"username": name, "role": role}
            given.append(Change([(f"members.{name}", None, role)], Request("POST", "members", body=body)))
        for role in sorted(have - roles):
            body = {"username": name, "role": role}
            taken.append(Change([(f"members.{name}", role, None)], Request("POST", "members/remove", body=body)))
    return [*given, *taken]  # in this order, so that no member is without a role in between


def by_name(client: Client, target: str) -> Named:
    """Return the channels or rules of the tenant by their names."""
    return {str(each.get("name")): each for each in client.pages(target, {}, MOST)}


def channel_changes(section: Place, present: Named) -> list[Change]:
    """Return the channels to add and to change.

    The API shows of a webhook's URL only the origin, so only that is compared.
    """
    found = []
    for name, place in section.members().items():
        values = {member: each.value for member, each in place.members(_CHANNEL, ("kind",)).items()}
        wanted = {member: stored(values["kind"], member, value) for member, value in values.items()}
        known = present.get(_trimmed(name, place))
        if known is None:
            lines = [(f"alertChannels.{name}", None, {**wanted, **_address_of(wanted)})]
            request = Request("POST", "alert-channels", body={"name": name, **wanted})
            found.append(Change(lines, request, adds_channel=name))
            continue
        _require_same(place, known, wanted, ("kind",))
        differing = _differing(known, {**wanted, **_address_of(wanted)})
        lines = [(f"{place.path}.{member}", known.get(member), value) for member, value in differing.items()]
        if lines:
            body = {member: wanted[member] for member in differing}
            found.append(
                Change(lines, Request("PATCH", path("alert-channels", str(known.get("channelId"))), body=body))
            )
    return found


def rule_changes(section: Place, present: Named, channels: Named, named: set[str]) -> list[Change]:
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
            request = Request("POST", "alert-rules", body={"name": name, **wanted})
            found.append(Change([(f"alertRules.{name}", None, wanted)], request))
            continue
        shown = {**known, "channels": sorted(names.get(str(each), str(each)) for each in known.get("channelIds") or [])}
        _require_same(place, shown, wanted, ("kind", "pipelineId"))
        if isinstance(wanted.get("thresholds"), dict):
            wanted["thresholds"] = {**(shown.get("thresholds") or {}), **wanted["thresholds"]}
        differing = _differing(shown, wanted)
        lines = [(f"{place.path}.{member}", shown.get(member), value) for member, value in differing.items()]
        if lines:
            found.append(Change(lines, Request("PATCH", path("alert-rules", str(known.get("ruleId"))), body=differing)))
    return found


def removals(section: str, present: Named, named: set[str]) -> list[Change]:
    """Return the removals of the channels or rules that the file does not name."""
    target, member = ("alert-channels", "channelId") if section == "alertChannels" else ("alert-rules", "ruleId")
    return [
        Change(
            [(f"{section}.{name}", each.get("kind"), None)],
            Request("POST", path(target, str(each.get(member)), "remove")),
        )
        for name, each in present.items()
        if name not in named
    ]


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
