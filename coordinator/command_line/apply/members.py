"""The section `members`: the people in the tenant, each with exactly the roles of the file."""

from typing import Any, Final

from coordinator.command_line.apply.changes import Change, changed
from coordinator.command_line.apply.document import Place
from coordinator.command_line.client import Client, Request

MOST: Final = 100_000


def changes(section: Place, client: Client, *, complete: bool) -> list[Change]:
    """Return the roles to give and to take. Members whom the file does not name lose theirs if it is `complete`."""
    wanted = {name: set(place.texts()) for name, place in section.members().items()}
    present: dict[str, set[str]] = {}
    for each in client.pages("members", {}, MOST):
        present.setdefault(str(each.get("username")), set()).add(str(each.get("role")))
    if complete:
        wanted = {**{name: set[str]() for name in present}, **wanted}
    given = [(name, role) for name, roles in wanted.items() for role in sorted(roles - present.get(name, set()))]
    taken = [(name, role) for name, roles in wanted.items() for role in sorted(present.get(name, set()) - roles)]
    # First give, then take, so that no member is without a role in between.
    return [*(_change("members", *each) for each in given), *(_change("members/remove", *each) for each in taken)]


def _change(target: str, name: str, role: str) -> Change:
    values: tuple[Any, Any] = (role, None) if target.endswith("remove") else (None, role)
    body = {"username": name, "role": role}
    return changed([(f"members.{name}", *values)], Request("POST", target, body=body))
