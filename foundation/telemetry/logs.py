"""The configuration of the coordinator's logs, for Django's LOGGING."""

from typing import Any

from wire.log_lines import FORMS as FORMS

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Celery's lines for each task and those of Azure's client for each request contain nothing that the database does
# not. Failures are still logged.
QUIET = (
    "celery.beat",
    "celery.worker.strategy",
    "celery.app.trace",
    "azure.core.pipeline.policies.http_logging_policy",
)


def configuration(form: str, level: str) -> dict[str, Any]:
    """Return the configuration that writes lines of this form, from this level on, to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "wire.log_lines.LineFormatter", "form": form}},
        "filters": {"limit": {"()": "wire.log_lines.LogLimit"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["limit"]}},
        "loggers": {name: {"level": "WARNING"} for name in QUIET},
        "root": {"handlers": ["stderr"], "level": level},
    }
