"""Django's `migrate`, made safe while processes run: one at a time, with time limits, and repeated if it waits.

A statement that waits for a lock on a table makes every later query of that table wait behind it. So a migration gives
up its place after LOCK_SECONDS, rolls back, and tries again once the queries have continued.

A database without tables gets those of `coordinator.schema` at once. What follows, such as the migrations of a newer
library, are steps as in any other database.
"""

import time
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration

from coordinator import schema

LOCK = 0x316247A7E
"""The key of the advisory lock that a migrating process holds. No other advisory lock of the product may use it."""
LOCK_SECONDS = 5.0
STATEMENT_SECONDS = 60.0
RETRY_SECONDS = 600.0
_POLL_SECONDS = 0.5
_CHOICES = frozenset({"app_label", "migration_name", "fake", "fake_initial", "plan", "check_unapplied", "prune"})
"""The options that ask for something else than all migrations."""
_LOCKED = ("55P03", "40P01")
"""The SQLSTATEs of an attempt that may succeed later: a lock was not available, or there was a deadlock."""


class Command(migrate.Command):
    help = (
        "Migrate the database. Only one process migrates at a time. Statements give up after a few seconds of waiting"
        " for a lock and after a minute, and the migration is tried again for ten minutes."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        deadline = time.monotonic() + RETRY_SECONDS
        self._take_turn(connection, deadline)
        try:
            while not self._migrated(connection, deadline, options):
                time.sleep(_POLL_SECONDS)
        finally:
            with suppress(Error):  # the session has ended, and its lock and limits with it
                _execute(connection, "SELECT pg_advisory_unlock(%s)", LOCK)
                _execute(connection, "RESET lock_timeout")
                _execute(connection, "RESET statement_timeout")

    def migration_progress_callback(self, action: str, migration: Migration | None = None, fake: bool = False) -> None:
        """Set the time limits of each migration before it begins."""
        if action in {"apply_start", "unapply_start"}:
            _limit(connections[self._alias], migration is None or migration.atomic)
        super().migration_progress_callback(action, migration, fake)

    def _take_turn(self, connection: BaseDatabaseWrapper, deadline: float) -> None:
        """Wait until no other process migrates. Raises `CommandError` at the deadline."""
        announced = False
        while not _execute(connection, "SELECT pg_try_advisory_lock(%s)", LOCK):
            if time.monotonic() >= deadline:
                raise CommandError("Another process still migrates this database. Run the command again.")
            if not announced:
                self.stderr.write("Another process migrates this database. Waiting for its end.")
                announced = True
            time.sleep(_POLL_SECONDS)

    def _migrated(self, connection: BaseDatabaseWrapper, deadline: float, options: dict[str, Any]) -> bool:
        """Migrate. Return False if a lock was not available. What was applied until then stays applied."""
        self._alias = connection.alias
        _limit(connection, atomic=True)
        try:
            if not _CHOICES & {name for name, value in options.items() if value}:
                schema.create(connection)
            super().handle(**options)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) not in _LOCKED:
                raise
            if time.monotonic() >= deadline:
                raise CommandError(
                    f"A migration got no lock within {RETRY_SECONDS:g} s, because transactions hold"
                    " it all the time. Nothing of it was applied. Find them in pg_stat_activity and run the command"
                    " again."
                ) from error
            self.stderr.write("A lock was not available. The migration is tried again.")
            return False
        return True


def _limit(connection: BaseDatabaseWrapper, atomic: bool) -> None:
    """Set the limits for the next migration. One that is not atomic works CONCURRENTLY, which blocks no query."""
    lock, statement = (LOCK_SECONDS, STATEMENT_SECONDS) if atomic else (0, 0)
    _execute(connection, "SELECT set_config('lock_timeout', %s, false)", f"{round(lock * 1000)}ms")
    _execute(connection, "SELECT set_config('statement_timeout', %s, false)", f"{round(statement * 1000)}ms")


def _execute(connection: BaseDatabaseWrapper, statement: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone() if cursor.description else None
    return row and row[0]
