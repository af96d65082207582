"""The page of all operations of the REST API, from the OpenAPI document, the declarations of views and the client."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from drf_spectacular.generators import EndpointEnumerator

from coordinator.command_line.commands import HELP, SHORT
from coordinator_client.api import Member
from coordinator_client.api import operation as operation_of
from docs.generators.markdown import code, codes, joined, table
from docs.generators.operations import BASE, document
from foundation.api.schema import ANY_REQUEST, BODY_REQUEST, LIST_REQUEST
from foundation.errors import QueryTooSlow
from tenancy.api.operations import TenantSchema
from tenancy.audit.acts import declared
from tenancy.roles import Role, Scope, roles_granting

HEAD: Final = f"""\
# REST API

All operations by resource. Their paths are below `{BASE}`, unless they begin with a slash. Requests
and responses are JSON, unless an operation says otherwise. The coordinator serves the OpenAPI 3.1 document, which also
describes the responses and the deprecated operations, at `/api/schema/` without a token:

```console
$ curl -s "https://coordinator.example/api/schema/?format=json"
```

[Submit over REST](../how-to/submit-over-rest.md) shows how to begin.
"""
REQUESTS: Final = """\
A request needs the header `Authorization: Bearer TOKEN`, with an API token of the tenant or an OAuth token. The token
needs the [scopes](roles.md#scopes) of the operation, and its owner one of the roles.

Unknown parameters and members are rejected. Times are RFC 3339 with an offset from UTC. Lists are pages with `items`,
`next` and `previous`. `pageSize` is the number of items, 50 by default and at most 500. `next` and `previous` are the
URLs of other pages, which contain `cursor`.
"""
COMMON: Final = """\
[Errors](errors.md#errors-of-the-api) are problem documents. Operations list only the errors that are not among these:
"""
COMMON_CODES: Final = [
    (what, sorted({name for _, name in refusals}))
    for what, refusals in (
        ("any", ANY_REQUEST | TenantSchema.authenticated),
        ("a list", LIST_REQUEST | {(QueryTooSlow.status, QueryTooSlow.code)}),
        ("with a body", BODY_REQUEST),
    )
]
TITLES: Final = {"trusted-keys": "Trusted keys"}
KINDS: Final = {"moment": "time", "texts": "list of texts", "json": "any value"}


def page() -> str:
    operations = list(_operations(document()))
    common = {name for _, names in COMMON_CODES for name in names}
    of_tags = defaultdict[str, list[str]](list)
    for method, path, operation, view in operations:
        of_tags[operation["tags"][0]] += _described(method, path, operation, view, common)
    return joined(
        HEAD,
        *("## Requests", REQUESTS),
        *(
            "## Common errors",
            COMMON,
            table(("request", "codes"), ((what, codes(names)) for what, names in COMMON_CODES)),
        ),
        *(part for tag in sorted(of_tags) for part in (f"## {TITLES.get(tag) or tag.capitalize()}", *of_tags[tag])),
    )


def _operations(described_by: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield the method, the path, the description and the view of each operation that is not deprecated."""
    for path, _, method, callback in EndpointEnumerator().get_api_endpoints():  # type: ignore[no-untyped-call]
        described = described_by["paths"].get(path, {}).get(method.lower())
        if described is not None and not described.get("deprecated"):
            yield method, path, described, callback.cls


def codes_of(described: Any) -> dict[str, str]:
    """Return the status of each error of an operation by its code."""
    return {name: status for status, response in described["responses"].items() for name in response.get("x-codes", ())}


def _described(method: str, path: str, described: Any, view: Any, common: set[str]) -> Iterator[str]:
    short = path.removeprefix(BASE)
    yield f"### {method} {short}"
    yield described["description"]
    declaration = declared(getattr(view, method.lower()))
    scopes = declaration.scopes if declaration and declaration.scopes else (Scope.READ,)
    done = f"Success: {', '.join(sorted(status for status in described['responses'] if status < '3'))}."
    yield f"{done} Scopes: {codes(scopes)}. Roles: {_roles(scopes)}." if view.authentication_classes else done
    members = operation_of(f"{method} {short}").members if path.startswith(BASE) else {}
    if members:
        kind = "parameter" if method == "GET" else "member"
        yield table(
            (kind, "type", "meaning"), ((_name(member), _kind(member), _meaning(member)) for member in members.values())
        )
    others = sorted((status, name) for name, status in codes_of(described).items() if name not in common)
    if others:
        yield f"Errors: {', '.join(f'{code(name)} ({status})' for status, name in others)}."


def _roles(scopes: tuple[Scope, ...]) -> str:
    roles = [role for role in Role if all(role in roles_granting(scope) for scope in scopes)]
    return "all" if len(roles) == len(Role) else ", ".join(str(role.label) for role in roles)


def _name(member: Member) -> str:
    return code(member.name) + (" (required)" if member.required else "")


def _kind(member: Member) -> str:
    return KINDS.get(member.kind, member.kind) + (" or null" if member.nullable else "")


def _meaning(member: Member) -> str:
    choices = f"One of {codes(member.choices)}." if member.choices else ""
    return " ".join(filter(None, (member.help or HELP.get(SHORT.get(member.name, member.name), ""), choices)))
