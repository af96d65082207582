"""Ends a process that connects to the database as a role that could lift the database's guards.

Triggers and rights hold an ordinary role only. A mistake in the code, or an attacker who can run SQL, must not be able
to alter tables or switch triggers off.
"""

import logging
import os
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from coordinator.postgresql.roles import application_dangers

log = logging.getLogger(__name__)


def require_ordinary_role() -> None:
    """End the process if its role is too strong: now, or at its first connection if the database does not answer yet.

    The setting DATABASE_ROLE_CHECK turns this off.
    """
    if not settings.DATABASE_ROLE_CHECK:
        return
    try:
        connection.ensure_connection()
        check(connection)
    except Error as error:
        log.warning("The database role is checked at the first connection: %s", type(error).__name__)
        connection_created.connect(_check_first)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    finally:
        connection.close()


def check(connected: BaseDatabaseWrapper) -> None:
    """Raise `ImproperlyConfigured` if the session's role, or the one that it logged in as, is too strong."""
    with connected.cursor() as cursor:
        cursor.execute("SELECT DISTINCT unnest(ARRAY[session_user, current_user]::text[])")
        for (role,) in cursor.fetchall():
            if dangers := application_dangers(cursor.execute, role):
                raise ImproperlyConfigured(
                    f"The database role {role} must not run this process: it {'; it '.join(dangers)}."
                    " Run manage.py setup_database, and name an ordinary role in DATABASE_URL."
                    " For development, DATABASE_ROLE_CHECK=false turns this check off."
                )


def _check_first(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Check the first connection of a process that started without a database. It serves nobody if that fails."""
    try:
        check(connection)
    except ImproperlyConfigured as error:
        connection.close()
        log.critical("%s", error)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    connection_created.disconnect(_check_first)
