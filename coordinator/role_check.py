"""Ends a process that connects to the database as a role that could disable the database's guards.

Triggers and rights restrict only an ordinary role. A bug, or an attacker who can run SQL, must not be able to alter
tables or disable triggers.
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

from coordinator import database_guard
from foundation.database.postgresql.roles import application_dangers, application_weaknesses

log = logging.getLogger(__name__)


def require_ordinary_role() -> None:
    """End the process if its role has excessive privileges.

    If the database does not answer yet, the check takes place at the first connection. DATABASE_ROLE_CHECK=false
    disables it. Also end the process if the database lacks the required synchronous standby.
    """
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
    """Raise `ImproperlyConfigured` if the session's role, or the role that logged in, has excessive privileges."""
    database_guard.require_synchronous_standby(connected)
    if not settings.DATABASE_ROLE_CHECK:
        return
    with connected.cursor() as cursor:
        cursor.execute("SELECT DISTINCT unnest(ARRAY[session_user, current_user]::text[])")
        for (role,) in cursor.fetchall():
            if dangers := application_dangers(cursor.execute, role):
                raise ImproperlyConfigured(
                    f"The database role {role} must not run this process: it {'; it '.join(dangers)}."
                    " Run coordinator setup_database, and name an ordinary role in DATABASE_URL."
                    " For development, DATABASE_ROLE_CHECK=false turns this check off."
                )
            for weakness in application_weaknesses(cursor.execute, role):
                log.warning("The database role %s %s", role, weakness)


def _check_first(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Check the first connection of a process that started without a database. Stop the process if the check fails."""
    try:
        check(connection)
    except ImproperlyConfigured as error:
        connection.close()
        log.critical("%s", error)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    connection_created.disconnect(_check_first)
