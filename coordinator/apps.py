from django.apps import AppConfig


class CoordinatorConfig(AppConfig):
    name = "coordinator"

    def ready(self) -> None:
        # Makes the configured Celery application the current one, so that `send_task` finds the broker.
        from coordinator import celery  # noqa: F401
