"""`coordinator members`: the people in the tenant, and their roles."""

from typing import Annotated, Final

import typer

from coordinator.command_line.arguments import Limit
from coordinator.command_line.client import Request
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.session import Session

app = noun("members", "List the members of the tenant, and give and take roles.")
_COLUMNS: Final = [("USER", "username"), ("NAME", "name"), ("ROLE", "role"), ("ACTIVE", "active")]
User = Annotated[str, typer.Argument(help="The name with which the person logs in.", show_default=False)]
Role = Annotated[str, typer.Argument(help="Such as operator or release-manager.", show_default=False)]


@reading(app, "list")
def list_members(session: Session, limit: Limit = 500) -> None:
    """List the members, a row for each role."""
    session.list(_COLUMNS, "members", limit)


@changing(app, "add")
def add(session: Session, user: User, role: Role) -> None:
    """Give a person a role. The token must allow everything that the role allows."""
    body = {"username": user, "role": role}
    session.act(Request("POST", "members", body=body), f"Give {user} the role {role}?")


@changing(app, "remove")
def remove(session: Session, user: User, role: Role) -> None:
    """Take a role from a person."""
    body = {"username": user, "role": role}
    session.act(Request("POST", "members/remove", body=body), f"Take the role {role} from {user}?")
