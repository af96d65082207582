"""Records in the audit log that a process started with other settings than the one before."""

import json
import logging
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.utils.crypto import salted_hmac

from coordinator import settings as module
from tenancy import audit
from tenancy.audit import chain
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)
ACT = Act.SETTINGS_LOAD
DIGEST_CHARACTERS = 12


def note_settings(process: str) -> None:
    """Append an entry with a digest of each setting, unless that of the last `process` is equal.

    The digests are keyed with SECRET_KEY, so they disclose no value. Without a database, nothing happens.
    """
    try:
        _note(f"coordinator {process}")
    except Error as error:
        log.warning("The settings are not in the audit log: %s", type(error).__name__)
    finally:
        connection.close()


def digests() -> dict[str, str]:
    """Return a digest of each setting that has the same text in each process."""
    texts = {name: repr(getattr(settings, name)) for name in dir(module) if name.isupper()}
    return {
        name: salted_hmac("coordinator.settings_record", f"{name}={text}", algorithm="sha256").hexdigest()[
            :DIGEST_CHARACTERS
        ]
        for name, text in texts.items()
        if " at 0x" not in text
    }


def _note(actor: str) -> None:
    now = digests()
    newest = chain.entries(None).filter(act=ACT, actor=actor).order_by("-sequence").first()
    before: dict[str, Any] = json.loads(newest.details)["digests"] if newest else {}
    if now != before:
        changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        more: dict[str, Any] = {"changed": changed} if newest else {}
        audit.record(ACT, tenant=None, actor=actor, object="settings", digests=now, **more)
