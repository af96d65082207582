"""What an error of PostgreSQL means for the work that met it, in one table of SQLSTATEs.

The exception classes do not tell. For example, psycopg raises OperationalError for a value that is too large, and
InternalError for a server that has become read-only.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from django.db import DataError, Error, IntegrityError, InterfaceError, OperationalError


class Meaning(Enum):
    """OUTAGE: every statement, or every write, fails until the server recovers. LATER: the statement may succeed later,
    and others succeed now. REJECTED: the statement wrote values that break a rule, so a repetition fails too.
    """

    OUTAGE = auto()
    LATER = auto()
    REJECTED = auto()


# Codes or their classes. The longest entry decides. A code without an entry is an error in the program.
_MEANINGS: Final = {
    "08": Meaning.OUTAGE,  # the connection was lost
    "0A000": Meaning.LATER,  # the plan of a prepared statement became invalid when a migration changed its table
    "22": Meaning.REJECTED,  # data exception
    "23": Meaning.REJECTED,  # a constraint, or a trigger that guards a row
    "25006": Meaning.OUTAGE,  # read-only: a full disk on a managed server, a pooler that leads to a standby
    "25P03": Meaning.LATER,  # the server ended the session because its transaction was idle
    "25P04": Meaning.LATER,  # the server ended the session because its transaction took too long
    "26000": Meaning.LATER,  # another session behind the pooler prepared the statement
    "28": Meaning.OUTAGE,  # the role may not log in
    "40": Meaning.LATER,  # a deadlock, or a conflict of transactions
    "42501": Meaning.LATER,  # a right was not granted
    "42P05": Meaning.LATER,  # another session behind the pooler prepared the statement
    "53": Meaning.OUTAGE,  # no connections, memory or disk left
    "54": Meaning.REJECTED,  # a value exceeds a limit of the server
    "55": Meaning.LATER,  # a lock or an object was not available
    "57": Meaning.LATER,  # the statement was cancelled
    "57P": Meaning.OUTAGE,  # the server starts, stops, or ended the session
    "58": Meaning.OUTAGE,  # the server's disk failed
    "P0": Meaning.REJECTED,  # an exception that a function raises
    "XX001": Meaning.LATER,  # a damaged table
    "XX002": Meaning.LATER,  # a damaged index
}


def is_outage(error: BaseException | None) -> bool:
    """Return True if `error` means that PostgreSQL cannot be reached or accepts no more connections or writes."""
    return _meaning(error) is Meaning.OUTAGE


def may_pass(error: BaseException | None) -> bool:
    """Return True if what failed with `error` may succeed later without any change to it."""
    return _meaning(error) in (Meaning.OUTAGE, Meaning.LATER)


def rejects_values(error: BaseException | None) -> bool:
    return _meaning(error) is Meaning.REJECTED


def _meaning(error: BaseException | None) -> Meaning | None:
    if not isinstance(error, Error):
        return None
    code = getattr(error.__cause__, "sqlstate", None)
    if code is None:  # no server reported it: there was no connection, or psycopg rejected a value
        if isinstance(error, OperationalError | InterfaceError):
            return Meaning.OUTAGE
        return Meaning.REJECTED if isinstance(error, DataError) else None
    return next((_MEANINGS[code[:length]] for length in (5, 3, 2) if code[:length] in _MEANINGS), None)


def violated_constraint(error: IntegrityError) -> str | None:
    """Return the name of the constraint; None if the error does not contain one."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)


@contextmanager
def refused_by(constraints: Collection[str], refusal: Callable[[], Exception]) -> Iterator[None]:
    """Raise what `refusal` returns if the block violates one of these constraints.

    The transaction that writes belongs into the block, so `refusal` may read the database.
    """
    try:
        yield
    except IntegrityError as error:
        if violated_constraint(error) not in constraints:
            raise
        raise refusal() from None
