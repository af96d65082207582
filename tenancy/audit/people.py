"""Finds the person who stands behind an actor."""

from datetime import datetime

from tenancy.audit import chain
from tenancy.audit.acts import Act
from tenancy.models import AuditEntry, Tenant


def person_behind(tenant: Tenant, actor: str, at: datetime) -> str | None:
    """Return the name of the user who acted as `actor` of the tenant at that time.

    The owner of a token is the user who issued it, as the audit log says, also if the token is revoked since. Returns
    None for the coordinator, tokens of an OAuth issuer, and tokens that the audit log does not have.
    """
    kind, _, name = actor.partition(":")
    if kind == "user":
        return name
    if kind != "token":
        return None
    entries = chain.exactly(chain.entries(tenant), name)
    issued = entries.filter(act=Act.TOKEN_ISSUE, outcome=AuditEntry.Outcome.GRANTED).values_list("actor", flat=True)
    # `at` may be the beginning of a transaction, and so precede the entry of a token that was issued during it.
    owner = issued.filter(at__lte=at).order_by("-sequence").first() or issued.order_by("sequence").first()
    return None if owner is None else owner.removeprefix("user:")
