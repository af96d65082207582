"""`coordinator keys`: the keys whose signatures of releases the tenant trusts."""

from pathlib import Path
from typing import Annotated, Final

import typer

from coordinator.command_line.arguments import Limit, Reason
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.key_files import public_key
from coordinator.command_line.session import Session

app = noun("keys", "List, add and revoke trusted keys.")
_COLUMNS: Final = [
    ("KEY", "keyId"),
    ("NAME", "name"),
    ("BY", "addedBy"),
    ("ADDED", "addedAt"),
    ("REVOKED", "revocation.revokedAt"),
]


@reading(app, "list")
def list_keys(session: Session, limit: Limit = 100) -> None:
    """List the trusted keys, including revoked ones, newest first."""
    session.list(_COLUMNS, "trusted-keys", limit)


@changing(app, "add")
def add(
    session: Session,
    name: Annotated[str, typer.Argument(help="A name for people.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="The public key, in PEM form.", show_default=False)],
) -> None:
    """Trust the signatures of a key."""
    body = {"name": name, "publicKey": public_key(file)}
    session.act(Request("POST", "trusted-keys", body=body), f"Trust the key in {file} as {name}?")


@changing(app, "revoke")
def revoke(
    session: Session,
    key: Annotated[str, typer.Argument(help="The key's id.", show_default=False)],
    reason: Reason = "",
) -> None:
    """Trust the signatures of a key no longer. This needs a reason."""
    body = {"reason": reason}
    session.act(Request("POST", path("trusted-keys", key, "revoke"), body=body), f"Revoke the key {key} permanently?")
