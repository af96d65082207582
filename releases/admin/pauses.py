"""The pauses on the pages of a release and a pipeline."""

from typing import Any


def open_holds(*rows: Any) -> list[Any]:
    """Return the open holds of these rows. Each row has a relation `holds`."""
    return [hold for row in rows for hold in row.holds.filter(ended_at=None).select_related("release")]
