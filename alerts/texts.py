"""The texts of alert channels: their secrets, from the setting ALERT_SECRETS, and what is stored of a member. Pure.

A channel stores the name of a secret and never the secret. The operator of the installation decides which tenant may
use which secret, so that no tenant can name a variable or a file of the process.
"""

import re
from typing import Any

from foundation import secret_reference
from wire.identity import is_identifier

RULE = "must be of the form tenant/name=reference, separated by commas, where a reference is env:NAME or file:/path"
_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
Secrets = dict[str, dict[str, str]]


def read_alert_secrets(text: str) -> Secrets:
    """Return the references by tenant and name. Raises `ValueError`, whose message contains no part of the text."""
    secrets: Secrets = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        place, _, reference = entry.partition("=")
        tenant, _, name = place.partition("/")
        known = secrets.setdefault(tenant, {})
        valid = is_identifier(tenant) and _TENANT.fullmatch(tenant) and _NAME.fullmatch(name) and name not in known
        if not valid or not secret_reference.is_reference(reference):
            raise ValueError(RULE)
        known[name] = reference
    return secrets


def secret(secrets: Secrets, tenant: str, name: str) -> str | None:
    """Return the secret that the tenant knows by this name, as it is now; None if it has none or it cannot be read."""
    reference = secrets.get(tenant, {}).get(name)
    text = secret_reference.read(reference) if reference else None
    return (text or "").strip() or None


def stored(kind: str, member: str, value: Any) -> Any:
    """Return a member of a channel without surrounding spaces, and without those between e-mail addresses.

    The command line compares files with what is stored.
    """
    if not isinstance(value, str):
        return value
    if kind == "email" and member == "address":
        return ",".join(filter(None, map(str.strip, value.split(","))))
    return value.strip()
