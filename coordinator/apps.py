import logging
from typing import Any

from django.apps import AppConfig, apps
from django.conf import LazySettings
from django.core import checks
from django.db import connections, transaction
from django.db.models.signals import post_migrate

log = logging.getLogger(__name__)


class CoordinatorConfig(AppConfig):
    name = "coordinator"

    def ready(self) -> None:
        # Django looks for masked attributes of lazy objects at each use of a setting. Settings have none. Without this,
        # a submission takes 1 to 3 % more CPU time, and a GET of an execution 3 %.
        LazySettings.__getattribute__ = object.__getattribute__  # type: ignore[method-assign]
        # `session_middleware` connects to the signal of each log-in.
        # Makes the configured Celery application the current one, so that `send_task` finds the broker.
        from coordinator import (
            celery,  # noqa: F401
            session_middleware,  # noqa: F401
        )

        # `migrate` runs the checks of databases, as the owner and before there are tables, but none for `deploy`.
        checks.register(_check_databases, deploy=True)
        # Django sends the signal once per app after all migrations; handle it for one app only.
        post_migrate.connect(_grant, sender=apps.get_app_config("executions"))


def _check_databases(**options: Any) -> list[checks.CheckMessage]:
    from coordinator.boot_checks import system_check

    return system_check(**options)


def _grant(using: str, **_: Any) -> None:
    """Grant the application role its rights on the tables that the migrations have created."""
    from django.conf import settings

    from foundation.database.postgresql.setup import grant

    connection = connections[using]
    role = settings.DATABASE_APPLICATION_ROLE
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user FROM pg_roles WHERE rolname = %s", [role])
        row = cursor.fetchone()
    if row is None:
        log.warning("Role %s does not exist, so no rights were granted: see coordinator setup_database", role)
    elif row[0] != role:  # if the owner is also the application role, it has every right already
        with transaction.atomic(using=using):
            grant(connection.connection.execute, connection.settings_dict["NAME"], role)
