"""The worker keys of each tenant: which ones are active, and how operators replace them.

A key is derived from `WORKER_SECRET` and the number of its generation. No secret is stored.
"""

import time
from functools import partial

from django.conf import settings
from django.db import transaction

from executions.errors import WorkerKeyChangeRefused
from executions.models import WorkerKeyChange
from foundation.database.compiled import Compiled
from foundation.timed_cache import TimedCache
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.worker_keys import FIRST_GENERATION, WorkerKey, worker_key

KNOWN_SECONDS = 1.0
"""The time for which a process may still accept a key that another process has revoked."""
cache: TimedCache[str, tuple[int, int]] = TimedCache(seconds=KNOWN_SECONDS)
"""The newest and the oldest active generation, by the slug of each existing tenant."""


def active_keys(tenant_id: str) -> tuple[WorkerKey, ...]:
    """Return the active keys of this tenant, newest secret and generation first.

    The tenant need not exist. Its generations are cached for KNOWN_SECONDS.
    """
    newest, oldest = _cached_generations(tenant_id)
    return tuple(
        worker_key(secret, tenant_id, generation)
        for secret in (settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS)
        for generation in range(newest, oldest - 1, -1)
    )


def exists(tenant_id: str) -> bool:
    """Return True if there is such a tenant. A tenant that was found once is never looked up again."""
    return cache.latest(tenant_id) is not None or Tenant.objects.filter(slug=tenant_id).exists()


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
    audit.record(
        Act.WORKER_KEY_CHANGE,
        tenant=tenant,
        actor=actor,
        object=newest,
        reason=reason,
        newest=newest,
        oldest=oldest,
    )
    invalidate = partial(cache.discard, tenant.slug)
    invalidate()  # for the rest of this transaction
    transaction.on_commit(invalidate)
    return worker_key(settings.WORKER_SECRET, tenant.slug, newest)


_CHANGE = Compiled(lambda slug: WorkerKeyChange.objects.filter(tenant__slug=slug).order_by("-number")[:1], slug="slug")


def _generations(tenant_id: str) -> tuple[int, int]:
    newest = _CHANGE.first(slug=tenant_id)
    return (FIRST_GENERATION, FIRST_GENERATION) if newest is None else (newest.newest, newest.oldest)


def _cached_generations(tenant_id: str) -> tuple[int, int]:
    known = cache.get(tenant_id)
    if known is None:
        since = time.monotonic()
        known = _generations(tenant_id)
        if exists(tenant_id):
            cache.set(tenant_id, known, since=since)
    return known
