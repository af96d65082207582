"""The page of roles, scopes and acts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.contrib import admin
from django.urls import URLPattern, URLResolver

from coordinator.urls import tenant_api
from docs.generators.markdown import code, codes, joined, table
from tenancy.audit.acts import Act, Declaration, declared
from tenancy.roles import GRANTS, IMPLIED, MEANING, PURPOSE, Role, Scope

METHODS: Final = ("post", "put", "patch", "delete")
OF_SUPERUSERS: Final = frozenset({Act.TENANT_CREATE, Act.TENANT_CHANGE, Act.QUOTAS_CHANGE})
"""The acts whose views also need a superuser."""
HEAD: Final = """\
# Roles and scopes

What each role of a tenant may do. The roles of a person add up. A superuser may do everything in all tenants. [Manage
people and roles](../how-to/manage-people-and-roles.md) says how to give roles.
"""
SCOPES: Final = """\
## Scopes

A scope is a permission inside a tenant. A role grants scopes. An API token has some scopes, and can do what both these
and the present roles of its owner allow.
"""
ACTS: Final = """\
## Acts

What people and clients change in a tenant. The names are those in the audit log, which also records denied attempts.
A rollback is a `release.activate` that needs `releases:roll-back` alone.
"""
OTHERS: Final = """\
`admin.page` is a denied request to a page. The other acts are those of superusers, of people on their own account, of
clients of `/tpf`, and of the coordinator:
"""


def page() -> str:
    acts = scopes_of_acts()
    others = [act for act in Act if act not in acts and act is not Act.ADMIN_PAGE]
    roles = [(code(role), role.label, PURPOSE[role]) for role in Role]
    return joined(
        *(HEAD, table(("role", "label", "purpose"), roles)),
        *(SCOPES, _scopes(), " ".join(f"{code(scope)} implies {code(other)}." for scope, other in IMPLIED.items())),
        *(ACTS, _acts(acts), OTHERS, f"{codes(others)}."),
    )


def scopes_of_acts() -> Mapping[Act, list[frozenset[Scope]]]:
    """Return the sets of scopes of each act in a tenant. It needs all scopes of one of its sets.

    Views of the API and pages of the admin declare them. If one declares more scopes of an act than another, the use
    case requires them all.
    """
    required = defaultdict[Act, set[frozenset[Scope]]](set)
    for declaration in _declarations():
        if (
            declaration.act is not None
            and declaration.act not in {Act.ADMIN_PAGE, *OF_SUPERUSERS}
            and declaration.scopes
        ):
            required[declaration.act].add(frozenset(declaration.scopes))
    return {
        act: [smallest for smallest in sets if not any(smallest < other for other in sets)]
        for act, sets in required.items()
    }


def _scopes() -> str:
    rows = [(code(scope), f"{MEANING[scope]}.", _roles([scope])) for scope in Scope]
    return table(("scope", "what it allows", "roles"), rows)


def _acts(acts: Mapping[Act, list[frozenset[Scope]]]) -> str:
    of_scopes = defaultdict[tuple[Scope, ...], list[Act]](list)
    for act in sorted(acts):
        for scopes in acts[act]:
            of_scopes[tuple(scope for scope in Scope if scope in scopes)].append(act)
    rows = [(codes(scopes), _roles(scopes), codes(of_scopes[scopes])) for scopes in sorted(of_scopes, key=_rank)]
    return table(("scopes", "roles", "acts"), rows)


def _rank(scopes: Iterable[Scope]) -> list[int]:
    return [list(Scope).index(scope) for scope in scopes]


def _roles(scopes: Iterable[Scope]) -> str:
    """Return the labels of the roles that grant all `scopes`."""
    labels = [str(role.label) for role, granted in GRANTS.items() if granted.issuperset(scopes)]
    return "all" if len(labels) == len(GRANTS) else ", ".join(labels)


def _declarations() -> Iterator[Declaration]:
    for view in (pattern.callback for pattern in (*_patterns(admin.site.urls[0]), *tenant_api)):
        of_class: Any = getattr(view, "view_class", None)
        for function in (getattr(of_class, method, None) for method in METHODS) if of_class else (view,):
            declaration = declared(function)
            if declaration is not None:
                yield declaration


def _patterns(urls: Iterable[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    for url in urls:
        if isinstance(url, URLResolver):
            yield from _patterns(url.url_patterns)
        else:
            yield url
