"""The settings OIDC_ROLES and OIDC_GROUPS: what groups of the identity provider grant. Pure."""

import re
from collections.abc import Callable, Collection, Mapping

from tenancy.roles import Role
from wire.identity import LONGEST_GROUP, is_identifier

Mapped = dict[str, list[tuple[str, str]]]
"""Tenants with a role or a group of each, by the name of the provider's group."""
_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def read_roles(text: str) -> Mapped:
    """Return OIDC_ROLES. Raises `ValueError`, whose message contains no part of the text."""
    return _read(text, set(map(str, Role)).__contains__, f"group=tenant/role with one of {', '.join(map(str, Role))}")


def read_groups(text: str) -> Mapped:
    """Return OIDC_GROUPS. Raises `ValueError`, whose message contains no part of the text."""
    return _read(text, lambda name: is_identifier(name) and len(name) <= LONGEST_GROUP, "group=tenant/group")


def _read(text: str, accepts: Callable[[str], bool], form: str) -> Mapped:
    mapped: Mapped = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        # The provider's groups may contain `=` and `/`, as in `/staff/admins`.
        group, _, place = entry.rpartition("=")
        tenant, _, name = place.partition("/")
        if not group or not _TENANT.fullmatch(tenant) or not accepts(name):
            raise ValueError(f"must be a list of {form}, separated by commas")
        mapped.setdefault(group, []).append((tenant, name))
    return mapped


def granted_by(mapped: Mapped, groups: Collection[str]) -> Mapping[str, set[str]]:
    """Return what `groups` grant in each tenant that the mapping names. It may be nothing."""
    granted: dict[str, set[str]] = {tenant: set() for places in mapped.values() for tenant, _ in places}
    for group in groups:
        for tenant, name in mapped.get(group, ()):
            granted[tenant].add(name)
    return granted
