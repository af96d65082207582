"""The section `trustedKeys`: the keys whose signatures of releases the tenant trusts."""

from typing import Any, Final

from coordinator.command_line.apply.changes import Change, changed
from coordinator.command_line.apply.document import Place
from coordinator.command_line.client import Client, Request, path
from coordinator.command_line.key_files import public_key

MOST: Final = 10_000


def changes(section: Place, client: Client, *, complete: bool) -> list[Change]:
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
            found.append(
                changed([(f"trustedKeys.{name}", None, "trusted")], Request("POST", "trusted-keys", body=body))
            )
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
    return changed([(f"trustedKeys.{key.get('name')}", "trusted", None)], request)


def _bare(pem: Any) -> str:
    """Return the text of a key without headers and white space."""
    return "".join(line.strip() for line in str(pem).splitlines() if not line.startswith("-----"))
