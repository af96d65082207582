import logging
from typing import Any

from django.apps import AppConfig, apps
from django.db import connections, transaction
from django.db.models.signals import post_migrate

log = logging.getLogger(__name__)


class CoordinatorConfig(AppConfig):
    name = "coordinator"

    def ready(self) -> None:
        # `sessions` marks each log-in from now on.
        # Makes the configured Celery application the current one, so that `send_task` finds the broker.
        from coordinator import celery, sessions  # noqa: F401

        # Sent for each app once all are migrated; one of them is enough.
        post_migrate.connect(_grant, sender=apps.get_app_config("executions"))


def _grant(using: str, **_: Any) -> None:
    """Give the application role its rights on what the migrations have created."""
    from django.conf import settings

    from coordinator.postgresql.setup import grant

    connection = connections[using]
    role = settings.DATABASE_APPLICATION_ROLE
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user FROM pg_roles WHERE rolname = %s", [role])
        row = cursor.fetchone()
    if row is None:
        log.warning("There is no role %s, so no rights were granted: see manage.py setup_database", role)
    elif row[0] != role:  # an owner who is also the application role has every right already
        with transaction.atomic(using=using):
            grant(connection.connection.execute, connection.settings_dict["NAME"], role)
