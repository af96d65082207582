"""Distinguishes an outage of PostgreSQL from an error in the program."""

from django.db import InterfaceError, OperationalError

# SQLSTATE classes: connection lost, no resources (too many connections, disk full), shutting down or starting up.
_OUTAGE = ("08", "53", "57P")


def is_outage(error: BaseException | None) -> bool:
    """Return True if `error` means that PostgreSQL cannot be reached or accepts no more connections or writes.

    Deadlocks and cancelled statements are errors of the same class in Django, but no outage.
    """
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    sqlstate = getattr(error.__cause__, "sqlstate", None)  # None if there was no connection to report it
    return sqlstate is None or sqlstate.startswith(_OUTAGE)
