"""The kinds of processes, and how often they report themselves. The clock loads this, but no model."""

from typing import Final

from foundation.choices import Choices

REPORT_SECONDS: Final = 10.0
"""Seconds between two reports of a process."""
SILENT_SECONDS: Final = 3 * REPORT_SECONDS
"""Seconds without a report after which a process counts as silent, and no longer as running."""


class Kind(Choices):
    WEB = "web", "web process"
    CONTROL = "control", "control worker"
    CLOCK = "clock", "clock"
