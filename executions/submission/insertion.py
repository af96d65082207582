"""Inserts admitted executions. Concurrent callers share one statement and one commit.

A caller that arrives during a commit waits for the next one, together with all others that arrive meanwhile. Any other
caller commits immediately. So a single caller never waits, and groups grow only while the database is busy. There is no
timer and no separate thread: one caller of each group writes the rows of all.
"""

import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Self, TypeVar

from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, connections, transaction
from pydantic_core import to_json

from executions import metrics
from executions.models import AdmissionReceipt
from executions.submission import at_once, statements
from executions.submission.admission import Admission
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.database import prepared
from foundation.database.postgresql.outage import is_outage, violated_constraint
from releases.models import Release
from tenancy.roles import Scope, roles_granting

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Caller(Generic[Item, Result]):
    """The rows of one caller, and then their results or an error.

    A caller that waits has a taken lock as its `turn`, which `wake` releases. A woken caller without results commits.
    """

    rows: Sequence[Item]
    size: int
    turn: "threading.Lock | None" = None
    results: list[Result] | None = None
    error: BaseException | None = None

    def finish(self, results: list[Result] | None = None, error: BaseException | None = None) -> None:
        self.results, self.error = results, error
        self.wake()

    def wake(self) -> None:
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.release()


class GroupCommit(Generic[Item, Result]):
    """Calls `write` with the rows of all waiting callers, in order of arrival.

    A call has at most `most_rows` rows, unless a single caller has more, and at most `most_bytes` bytes. A caller with
    more bytes gets a separate call, which delays no other caller. `size` returns the bytes of one row. `write` runs one
    transaction and returns one result for each row, in the same order. `is_outage` returns True if other rows would
    cause the same error of `write`.
    """

    def __init__(
        self,
        write: Callable[[list[Item]], list[Result]],
        *,
        most_rows: int,
        size: Callable[[Item], int],
        most_bytes: int,
        is_outage: Callable[[BaseException], bool],
    ) -> None:
        self._write = write
        self._most_rows = most_rows
        self._size = size
        self._most_bytes = most_bytes
        self._is_outage = is_outage
        self._lock = threading.Lock()
        self._waiting: deque[_Caller[Item, Result]] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """The number of callers that wait for a commit which has not begun."""
        return len(self._waiting)

    def commit(self, rows: Sequence[Item]) -> list[Result]:
        """Write `rows` and return their results once they are durable. Raise the error of `write` for these rows.

        Rows of a caller that is in a transaction are written in it, separately: they are durable when it commits.
        """
        size = sum(map(self._size, rows))
        if size > self._most_bytes or connections[DEFAULT_DB_ALIAS].in_atomic_block:
            return self._write(list(rows))
        caller: _Caller[Item, Result] = _Caller(rows, size)
        turn = None
        with self._lock:
            self._waiting.append(caller)
            if self._busy:
                turn = caller.turn = threading.Lock()
                turn.acquire()
            self._busy = True
        if turn is not None:
            turn.acquire()  # until another caller wakes this one
        if caller.results is None and caller.error is None:
            self._lead()
        if caller.error is not None:
            raise caller.error
        assert caller.results is not None  # noqa: S101 - the leader sets the results or the error
        return caller.results

    def _lead(self) -> None:
        group = self._next_group()
        try:
            self._write_all(group)
        except BaseException as error:
            for caller in group:
                if caller.results is None and caller.error is None:
                    caller.finish(error=error)
            raise
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._busy = successor is not None
            if successor is not None:
                successor.wake()

    def _next_group(self) -> list[_Caller[Item, Result]]:
        with self._lock:
            group = [self._waiting.popleft()]
            rows, size = len(group[0].rows), group[0].size
            while self._waiting:
                rows, size = rows + len(self._waiting[0].rows), size + self._waiting[0].size
                if rows > self._most_rows or size > self._most_bytes:
                    break
                group.append(self._waiting.popleft())
        return group

    def _write_all(self, group: Sequence[_Caller[Item, Result]]) -> None:
        """Write the rows of the group together. If `write` rejects them, write each caller's rows separately."""
        try:
            results = self._write([row for caller in group for row in caller.rows])
        except Exception as error:
            if len(group) > 1 and not self._is_outage(error):
                self._write_each(group)
                return
            for caller in group:
                caller.finish(error=error)
            return
        start = 0
        for caller in group:
            caller.finish(results[start : start + len(caller.rows)])
            start += len(caller.rows)

    def _write_each(self, group: Sequence[_Caller[Item, Result]]) -> None:
        """Write each caller's rows separately. In an outage all remaining callers get the same error immediately.

        Otherwise each of them would wait for another timeout.
        """
        for place, caller in enumerate(group, start=1):
            self._write_all([caller])
            if caller.error is not None and self._is_outage(caller.error):
                for other in group[place:]:
                    other.finish(error=caller.error)
                break


ROWS_IN_A_COMMIT = 500
BYTES_IN_A_COMMIT = 4 * 1024**2
LARGE_BYTES = 1024**2

# As a literal of PostgreSQL, which costs a tenth of the calls of a list in each statement.
_SUBMITTING_ROLES = "{" + ",".join(role.value for role in roles_granting(Scope.SUBMIT)) + "}"
_SUBMIT = Scope.SUBMIT.value
_EPOCH = datetime.fromtimestamp(0, UTC)
# The constraint that is violated if a release is revoked while its executions are being written.
_PIN_EXISTS = "execution_pin_exists"
# The constraint that is violated if the parent of a child no longer waits.
_PARENT_WAITS = "execution_parent_waits"


@dataclass(frozen=True, slots=True)
class Row:
    """A new execution. `document` is its row as the statement expects it: JSON in UTF-8.

    `interrupted` is true if no message reached the control workers when the row was admitted. `receipt` is written with
    the execution. `notifies` is true if it names a channel, and `searched` if it has values that can be searched.
    `starts` is true if it says when it starts, or if it has a `concurrency_key` or a parent. A `separate` row has a
    separate transaction: it may be refused because of others with that key, or replaces those submitted earlier.
    """

    id: uuid.UUID
    release: Release
    interrupted: bool
    document: bytes
    receipt: AdmissionReceipt | None = None
    notifies: bool = False
    searched: bool = False
    starts: bool = False
    concurrency_key: str = ""
    separate: bool = False

    @classmethod
    def of(cls, admission: Admission, receipt: AdmissionReceipt | None = None, **columns: Any) -> Self:
        """Return a new row. It needs the columns `input`, a list of the input, and `shape`."""
        execution_id, searched = new_id(), False
        if admission.search and (values := admission.search_values(columns["input"][0], columns["shape"])):
            columns["search"], searched = values, True
        limit = None if "smoke" in columns else admission.concurrency
        if limit is not None:
            columns["limited"] = limit.key_of(columns["input"][0])
        document = to_json({"id": execution_id, **admission.columns, **columns})
        starts = "not_before" in columns or "expires" in columns or "priority" in columns or "parent" in columns
        return cls(
            execution_id,
            admission.release,
            admission.interrupted,
            document,
            receipt,
            notifies="notify" in columns,
            searched=searched,
            starts=starts or limit is not None,
            concurrency_key=columns["limited"] if limit is not None else "",
            separate=limit is not None and (limit.refuses or limit.debounces),
        )


def _insert(rows: list[Row]) -> list[datetime | None]:
    """Return the creation time of each row's execution; None if it was not inserted.

    If a release is revoked during the statement, or a parent ends, no row is inserted. Callers check the admission of
    such rows again.
    """
    receipts: list[AdmissionReceipt] = []
    notifies = searched = starts = False
    for row in rows:
        if row.notifies:
            notifies = True
        if row.searched:
            searched = True
        if row.starts:
            starts = True
        if row.receipt is not None:
            row.receipt.execution_id = row.id
            receipts.append(row.receipt)
    statement = statements.INSERTIONS[notifies, searched, starts]
    document = b"[%b]" % b",".join([row.document for row in rows])
    columns: dict[str, Any] = {
        "rows": document.decode(),  # psycopg's wrapper of JSON costs five more calls
        "scope": _SUBMIT,
        "roles": _SUBMITTING_ROLES,
    }
    in_transaction = connections[DEFAULT_DB_ALIAS].in_atomic_block
    is_alone = not receipts and not starts and not commits.waiting
    try:
        both = at_once.insert(statement, columns, len(rows)) if is_alone and at_once.is_possible(len(rows)) else None
        if both is None:
            # Outside of a transaction, a single statement is a transaction and needs no savepoint.
            write = transaction.atomic(_write) if in_transaction or receipts else _write
            both = write(statement, columns, receipts), []
        accepted, claims = both
        inserted = {pk: _EPOCH + timedelta(microseconds=created) for pk, created in accepted}
    except IntegrityError as error:
        if violated_constraint(error) not in (_PIN_EXISTS, _PARENT_WAITS):
            raise
        return [None] * len(rows)
    if len(document) > LARGE_BYTES and not in_transaction:
        connection.close()  # libpq keeps a buffer as large as the largest statement it ever sent
    metrics.submission_groups.observe(amount=len(rows))
    if claims:
        wakeup.hand_over(DISPATCH_TASK, claims)
    if inserted.keys() - {claim.execution_id for claim in claims}:
        wakeup.send_once(DISPATCH_TASK)
    return [inserted.get(row.id) for row in rows]


def _write(statement: str, columns: Mapping[str, Any], receipts: Sequence[AdmissionReceipt]) -> list[tuple[Any, ...]]:
    accepted = prepared.rows(statement, columns)
    inserted = {pk for pk, _ in accepted}
    for receipt in receipts:
        if receipt.execution_id in inserted:
            with prepared.cursor() as cursor:
                cursor.execute(statements.INSERT_RECEIPT, vars(receipt))
    return accepted


def _size(row: Row) -> int:
    return len(row.document)


commits = GroupCommit(
    _insert, most_rows=ROWS_IN_A_COMMIT, size=_size, most_bytes=BYTES_IN_A_COMMIT, is_outage=is_outage
)


def new_id() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds and 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
