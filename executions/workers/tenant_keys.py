"""The worker keys of each tenant: which ones are active, and how operators replace them.

A key is derived from `WORKER_SECRET` and the number of its generation. No secret is stored.
"""

import time
from functools import partial

from django.conf import settings
from django.db import transaction

from executions.errors import WorkerKeyChangeRefused
from executions.models import WorkerKeyChange
from tenancy.models import Tenant
from wire.worker_keys import FIRST_GENERATION, WorkerKey, worker_key

KNOWN_SECONDS = 1.0
"""The time for which a process may still accept a key that another process has revoked."""
_known: dict[str, tuple[float, int, int]] = {}
"""For the slug of each existing tenant: until when this is valid, and the newest and the oldest active generation."""


def active_keys(tenant_id: str) -> tuple[WorkerKey, ...]:
    """Return the active keys of this tenant, newest secret and generation first.

    The tenant need not exist. Its generations are cached for KNOWN_SECONDS.
    """
    newest, oldest = _remembered(tenant_id)
    return tuple(
        worker_key(secret, tenant_id, generation)
        for secret in (settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS)
        for generation in range(newest, oldest - 1, -1)
    )


def exists(tenant_id: str) -> bool:
    """Return True if there is such a tenant. A tenant that was found once is never looked up again."""
    return tenant_id in _known or Tenant.objects.filter(slug=tenant_id).exists()


def forget() -> None:
    """Clear the cache. For tests."""
    _known.clear()


def current_key(tenant_id: str) -> WorkerKey:
    """Return the newest key, which operators give to workers."""
    return active_keys(tenant_id)[0]


def start_key(tenant: Tenant, *, actor: str, reason: str = "") -> WorkerKey:
    """Start a new key. The previous key stays active until it is revoked.

    Raises `WorkerKeyChangeRefused` if two keys are already active.
    """
    with transaction.atomic():
        newest, oldest = _locked(tenant)
        if newest != oldest:
            raise WorkerKeyChangeRefused("Two keys are active. Revoke the old one first.")
        return _changed(tenant, newest + 1, oldest, actor, reason)


def revoke_old_key(tenant: Tenant, *, actor: str, reason: str = "") -> WorkerKey:
    """Revoke the key before the newest. Raises `WorkerKeyChangeRefused` if only one key is active."""
    with transaction.atomic():
        newest, oldest = _locked(tenant)
        if newest == oldest:
            raise WorkerKeyChangeRefused("Only one key is active. Start a new one first, or replace it at once.")
        return _changed(tenant, newest, newest, actor, reason)


def replace_key(tenant: Tenant, *, actor: str, reason: str = "") -> WorkerKey:
    """Start a new key and revoke all others, after a leak. Workers stop until they have the new key."""
    with transaction.atomic():
        newest, _ = _locked(tenant)
        return _changed(tenant, newest + 1, newest + 1, actor, reason)


def _locked(tenant: Tenant) -> tuple[int, int]:
    """Lock the tenant's row until the transaction ends. Return the newest and the oldest active generation."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    return _generations(tenant.slug)


def _changed(tenant: Tenant, newest: int, oldest: int, actor: str, reason: str) -> WorkerKey:
    WorkerKeyChange.objects.create(
        tenant=tenant,
        number=WorkerKeyChange.objects.filter(tenant=tenant).count() + 1,
        newest=newest,
        oldest=oldest,
        actor=actor,
        reason=reason,
    )
    invalidate = partial(_known.pop, tenant.slug, None)
    invalidate()  # for the rest of this transaction
    transaction.on_commit(invalidate)
    return worker_key(settings.WORKER_SECRET, tenant.slug, newest)


def _generations(tenant_id: str) -> tuple[int, int]:
    changes = WorkerKeyChange.objects.filter(tenant__slug=tenant_id).order_by("-number")
    return changes.values_list("newest", "oldest").first() or (FIRST_GENERATION, FIRST_GENERATION)


def _remembered(tenant_id: str) -> tuple[int, int]:
    now = time.monotonic()
    until, newest, oldest = _known.get(tenant_id, (now, 0, 0))
    if now >= until:
        newest, oldest = _generations(tenant_id)
        if exists(tenant_id):
            _known[tenant_id] = now + KNOWN_SECONDS, newest, oldest
    return newest, oldest
