"""Writes entries of the audit log."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import wraps
from typing import Any, Final, NotRequired, ParamSpec, TypedDict, TypeVar, Unpack

from django.db import connection, transaction

from foundation.errors import CoordinatorError
from tenancy import origin
from tenancy.audit.acts import Act
from tenancy.models import AuditEntry, Tenant
from wire.documents import json_writer

P = ParamSpec("P")
R = TypeVar("R")
Outcome = AuditEntry.Outcome
LONGEST_ACTOR: Final = 200
LONGEST_OBJECT: Final = 1000
LONGEST_REASON: Final = 2000

# A trigger sets the other columns.
APPEND = """
INSERT INTO tenancy_auditentry
    (tenant_id, actor, act, object_type, object, outcome, reason, request_id, address, details)
VALUES (%(tenant)s, %(actor)s, %(act)s, %(object_type)s, %(object)s, %(outcome)s, %(reason)s, %(request_id)s,
    %(address)s, %(details)s)
"""

# Makes the deferred checks of the transaction now. Some of them lock rows, and the head of the chain is locked last: a
# check at the commit would come after it, and could deadlock with an act that holds such a row and waits for the head.
CHECK_NOW = "SET CONSTRAINTS ALL IMMEDIATE"

# Restores the initial state: all constraints that can be deferred are deferred initially.
CHECK_LATER = "SET CONSTRAINTS ALL DEFERRED"


class Repeats:
    """Limits how often equal acts are recorded, and counts those that are not.

    Lets each key through once in `seconds`. Remembers the `most` keys that were let through last. Thread-safe.
    """

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def take(self, key: Hashable) -> int | None:
        """Return None if `key` was let through within the time, else how often that happened since the last time."""
        now = time.monotonic()
        with self._lock:
            since, left_out = self._known.get(key, (-self._seconds, 0))
            if now - since < self._seconds:
                self._known[key] = (since, left_out + 1)
                return None
            self._known[key] = (now, 0)
            self._known.move_to_end(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
            return left_out

    def reset(self) -> None:
        with self._lock:
            self._known.clear()


repeats = Repeats(seconds=60, most=10_000)
"""The denials and observations of the last minute."""


def record(
    act: Act,
    *,
    tenant: Tenant | None,
    actor: str,
    object: object,  # noqa: A002 - the name of the column
    object_type: str = "",
    reason: str = "",
    outcome: str = Outcome.GRANTED,
    **details: Any,
) -> None:
    """Append an entry to the chain of `tenant`, or to that of the installation if it is None.

    Call this last in the transaction of the act: it locks the head of the chain. `act` is a dotted name such as
    `release.activate`, and `object` identifies what the act is about. `object_type` is the part of `act` before the
    dot, unless it is given. `details` are JSON values without secrets and without payloads. Texts that are too long are
    shortened.
    """
    serving = origin.current()
    parameters = {
        "tenant": tenant.pk if tenant else None,
        "actor": _text(actor, LONGEST_ACTOR),
        "act": act,
        "object_type": object_type or act.partition(".")[0],
        "object": _text(object, LONGEST_OBJECT),
        "outcome": str(outcome),
        "reason": _stored(reason)[:LONGEST_REASON],
        "request_id": serving.request_id,
        "address": serving.address,
        "details": _stored(json_writer.sorted_text(details)),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CHECK_NOW)
        cursor.execute(APPEND, parameters)
        cursor.execute(CHECK_LATER)


class Entry(TypedDict):
    """What `record` says about who does something to what."""

    tenant: Tenant | None
    actor: str
    object_type: NotRequired[str]
    object: object


def deny(act: Act, *, reason: str, **entry: Unpack[Entry]) -> None:
    """Append an entry for a denied act. Call this outside of the transaction that the denial rolls back.

    Each process writes at most one entry per chain, actor and act in a minute. The next one has the number of those
    that were left out, so a client can neither fill the log nor slow down others.
    """
    _bounded((), act, reason=reason, outcome=Outcome.DENIED, **entry)


def denials(
    act: Act, *refusals: type[CoordinatorError], of: Callable[..., Mapping[str, Any]]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a use case that opens its own transaction: if it raises one of `refusals`, the denial is recorded.

    `of` gets the arguments of the use case, and returns those of `deny` other than the act and the reason.
    """

    def decorate(use_case: Callable[P, R]) -> Callable[P, R]:
        @wraps(use_case)
        def audited(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return use_case(*args, **kwargs)
            except refusals as refusal:
                deny(act, reason=refusal.detail, **of(*args, **kwargs))
                raise

        return audited

    return decorate


def observe(act: Act, *, outcome: str = Outcome.GRANTED, reason: str = "", **entry: Any) -> None:
    """Append an entry for an act that changes nothing and may be frequent, such as a download.

    `entry` has what `record` takes. Bounded as `deny` is, for each object separately.
    """
    _bounded((outcome, str(entry["object"])), act, outcome=outcome, reason=reason, **entry)


def _bounded(key: tuple[object, ...], act: Act, *, tenant: Tenant | None, actor: str, **entry: Any) -> None:
    left_out = repeats.take((tenant and tenant.pk, actor, act, *key))
    if left_out is not None:
        more: dict[str, Any] = {"leftOut": left_out} if left_out else {}
        record(act, tenant=tenant, actor=actor, **entry, **more)


def _text(value: object, longest: int) -> str:
    return _stored(str(value))[:longest]


def _stored(text: str) -> str:
    """Return `text` without the characters that PostgreSQL rejects."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
