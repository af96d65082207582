"""Finds the people who stand behind actors."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from tenancy.audit import chain
from tenancy.audit.acts import Act
from tenancy.models import AuditEntry, Tenant

Acted = tuple[str, datetime]
"""An actor, and a time at which it acted."""


def person_behind(tenant: Tenant, actor: str, at: datetime) -> str | None:
    """Return the name of the user who acted as `actor` of the tenant at that time: see `people_behind`."""
    return people_behind(tenant, [(actor, at)])[actor, at]


def people_behind(tenant: Tenant, acted: Iterable[Acted]) -> Mapping[Acted, str | None]:
    """Return the names of the users who acted as these actors of the tenant at these times, in one statement.

    The owner of a token is the user who issued it, as the audit log says, also if the token is revoked since. The name
    is None for the coordinator, tokens of an OAuth issuer, and tokens that the audit log does not have.
    """
    wanted = set(acted)
    issued = _issued(
        tenant, {name for actor, _ in wanted for kind, _, name in [actor.partition(":")] if kind == "token"}
    )
    return {actor: _person(*actor, issued) for actor in wanted}


def _issued(tenant: Tenant, names: set[str]) -> Mapping[str, list[tuple[datetime, str]]]:
    """Return when and by which actor each token of these names was issued, oldest first."""
    issued: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    if names:
        entries = chain.exactly(chain.entries(tenant), *names)
        granted = entries.filter(act=Act.TOKEN_ISSUE, outcome=AuditEntry.Outcome.GRANTED).order_by("sequence")
        for name, at, actor in granted.values_list("object", "at", "actor"):
            issued[name].append((at, actor))
    return issued


def _person(actor: str, at: datetime, issued: Mapping[str, list[tuple[datetime, str]]]) -> str | None:
    kind, _, name = actor.partition(":")
    if kind == "user":
        return name
    if kind != "token" or name not in issued:
        return None
    # `at` may be the beginning of a transaction, and so precede the entry of a token that was issued during it.
    owners = [owner for issued_at, owner in issued[name] if issued_at <= at] or [issued[name][0][1]]
    return owners[-1].removeprefix("user:")
