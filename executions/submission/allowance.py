"""The quotas of submissions: how many a tenant may submit in a second, and how many executions may be open.

The database grants permits to web processes, many at a time (ADR 67). A process uses the permits of a grant without
asking again. Together, the grants never exceed the quota. The last permits are granted one by one, so that no process
keeps what others need.
"""

import math
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from django.db import Error, connection

from foundation.errors import QuotaExceeded
from tenancy.models import Tenant

USABLE_SECONDS = 2.0
"""How long a process uses a grant of open executions. The database counts the grant for 30 seconds."""
RETURN_SECONDS = 0.5
"""The age at which a grant of open executions is returned if no submission is in progress."""
REFUSAL_SECONDS = 0.1
"""How long a process refuses without asking again after no open executions were left."""
LARGEST_GRANT = 1024
SUBMISSIONS, OPEN_EXECUTIONS = "submissionsPerSecond", "openExecutions"

_GRANT_SUBMISSIONS = "SELECT permits, seconds FROM grant_submissions(%s, %s, %s, %s)"
_GRANT_OPEN_EXECUTIONS = "SELECT grant_open_executions(%s, %s, %s, %s, %s::uuid[], %s, %s)"


@dataclass(slots=True, eq=False)
class Grant:
    """Permits of this process. `free` of them are unused, and `busy` belong to submissions in progress."""

    id: uuid.UUID
    permits: int
    began: float
    usable_until: float
    free: int
    busy: int = 0

    @property
    def used(self) -> int:
        return self.permits - self.free


Held = list[tuple[Grant, int]]
"""Permits of submissions in progress, by their grants."""


@dataclass(eq=False)
class Permits:
    """The permits of one tenant and quota in this process. Safe to use from many threads."""

    quota: str
    tenant_id: int
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _grants: list[Grant] = field(default_factory=list)
    _size: int = 1
    _refused_until: float = 0.0

    def take(self, limit: int, count: int) -> Held:
        """Return up to `count` permits. They are fewer if the quota is used up."""
        with self._lock:
            held = self._from_grants(count)
            missing = count - _sum(held)
            if missing and time.monotonic() >= self._refused_until:
                try:
                    self._ask(limit, missing)
                except BaseException:
                    self._give_back(held, 0)
                    raise
                held += self._from_grants(missing)
            return held

    def end(self, limit: int, held: Held, used: int) -> None:
        """End submissions. `used` of their permits are used up, and the others are free again."""
        with self._lock:
            self._give_back(held, used)
            oldest = self._grants[0].began if self._grants and self._returns else math.inf
            if oldest < time.monotonic() - RETURN_SECONDS and not any(grant.busy for grant in self._grants):
                with suppress(Error):  # the submissions are accepted, and the database forgets the grants later
                    self._ask(limit, 0)

    def refusal(self, limit: int) -> QuotaExceeded:
        seconds = max(math.ceil(self._refused_until - time.monotonic()), 1)
        return QuotaExceeded(f"The tenant's quota {self.quota} is {limit:,}.", quota=self.quota, retryAfter=seconds)

    @property
    def _returns(self) -> bool:
        """Whether the database gets unused permits back. Those of a second end with it."""
        return self.quota == OPEN_EXECUTIONS

    @staticmethod
    def _give_back(held: Held, used: int) -> None:
        for grant, number in held:
            spent = min(number, used)
            used -= spent
            grant.busy -= number
            grant.free += number - spent

    def _from_grants(self, count: int) -> Held:
        held: Held = []
        now = time.monotonic()
        for grant in self._grants:
            number = min(grant.free, count) if now < grant.usable_until else 0
            if number:
                grant.free -= number
                grant.busy += number
                count -= number
                held.append((grant, number))
        return held

    def _ask(self, limit: int, needed: int) -> None:
        """Get another grant, and return those that are used up or too old: all of them if nothing is needed."""
        now = time.monotonic()
        ended = [
            grant
            for grant in self._grants
            if not grant.busy and not (needed and grant.free and now < grant.usable_until)
        ]
        soon = bool(self._grants) and self._grants[-1].began > now - 1.0
        self._size = min(self._size * 2, LARGEST_GRANT) if soon else max(self._size // 4, 1)
        wished = max(needed, self._size) if needed else 0
        new, permits, seconds = self._granted(limit, needed, wished, ended)
        self._grants = [grant for grant in self._grants if grant not in ended]
        if permits:
            self._grants.append(Grant(new, permits, now, now + seconds, permits))
        if permits < needed:
            self._refused_until = now + (REFUSAL_SECONDS if self._returns else seconds)

    def _granted(self, limit: int, needed: int, wished: int, ended: list[Grant]) -> tuple[uuid.UUID, int, float]:
        """End grants and return a new one: its id, its permits, and for how many seconds it is usable."""
        new, parameters = uuid.uuid4(), [self.tenant_id, limit, needed, wished]
        with connection.cursor() as cursor:
            if self._returns:
                used = sum(grant.used for grant in ended)
                cursor.execute(_GRANT_OPEN_EXECUTIONS, [*parameters, [grant.id for grant in ended], used, new])
                return new, cursor.fetchone()[0], USABLE_SECONDS
            cursor.execute(_GRANT_SUBMISSIONS, parameters)
            permits, seconds = cursor.fetchone()
            return new, permits, seconds


_permits: dict[tuple[str, int], Permits] = {}


def forget() -> None:
    """Forget all permits of this process, for tests that replace the database."""
    _permits.clear()


class Admitted:
    """Permits for `count` submissions within a block. Those that were not inserted are free again after it.

    `count` of the submissions may be inserted, and the others get `refusal`. The block sets `inserted`. If it raises,
    all of them count as used, because rows may have been inserted. A tenant without quotas needs no permits.
    """

    def __init__(self, tenant: Tenant, count: int) -> None:
        self.count = count
        self.refusal: QuotaExceeded | None = None
        self.inserted: int | None = None
        self._tenant = tenant
        self._taken: list[tuple[Permits, int, Held]] = []

    def __enter__(self) -> Self:
        tenant = self._tenant
        if tenant.quota_submissions is not None or tenant.quota_open_executions is not None:
            try:
                self._take(SUBMISSIONS, tenant.quota_submissions)
                self._take(OPEN_EXECUTIONS, tenant.quota_open_executions)
            except BaseException:
                self._end(0)
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            self._end(self.count if self.inserted is None else self.inserted)

    def _take(self, quota: str, limit: int | None) -> None:
        if limit is None:
            return
        permits = _permits_of(quota, self._tenant.pk)
        held = permits.take(limit, self.count)
        self._taken.append((permits, limit, held))
        if _sum(held) < self.count:
            self.count, self.refusal = _sum(held), permits.refusal(limit)

    def _end(self, used: int) -> None:
        for permits, limit, held in self._taken:
            permits.end(limit, held, used)


def _permits_of(quota: str, tenant_id: int) -> Permits:
    permits = _permits.get((quota, tenant_id))
    return permits or _permits.setdefault((quota, tenant_id), Permits(quota, tenant_id))


def _sum(held: Held) -> int:
    return sum(number for _, number in held)
