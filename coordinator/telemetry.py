"""Starts the export of a process's spans, as the settings say."""

from django.conf import settings

from foundation.telemetry import traces


def start(process: str) -> None:
    """Export the spans of this process if there is an endpoint. Call this after the last fork."""
    if settings.TRACES_ENDPOINT:
        traces.start(settings.TRACES_ENDPOINT, sample=settings.TRACES_SAMPLE, service=f"coordinator-{process}")
