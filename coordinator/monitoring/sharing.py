"""Lets the web processes of one parent count together. Imports no metrics, because it must run before they do."""

import logging
import os

from django.conf import settings

from foundation.telemetry import shared_files

log = logging.getLogger(__name__)


def share_counts() -> None:
    """Share the counts if a setting serves them. If the folder cannot be used, each process counts alone."""
    if not (settings.METRICS_TOKEN or settings.METRICS_PORT):
        return
    try:
        shared_files.share(shared_files.default_place(), os.getppid())
    except OSError as error:
        log.warning("Each web process counts alone: %s", error)
