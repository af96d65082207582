from django.apps import AppConfig


class CoordinatorConfig(AppConfig):
    name = "coordinator"

    def ready(self) -> None:
        # `sessions` marks each log-in from now on.
        # Makes the configured Celery application the current one, so that `send_task` finds the broker.
        from coordinator import celery, sessions  # noqa: F401
