"""The limits of the values that steps take and return.

Workers check them before they send, with the name of the step, and the coordinator checks them when it reads. So a
result within them can be recorded. docs/pipelines.md lists them.
"""

from typing import Final

LONGEST_OUTCOME: Final = 16 * 1024**2
"""One outcome, or one checkpoint, as JSON, in characters."""
MOST_PAYLOADS: Final = 400_000
"""The number of outputs in one outcome or checkpoint, or of requests in one await."""
MOST_VALUES: Final = 1_000_000
"""How many JSON values all outputs together may contain."""
DEEPEST: Final = 200
"""How many levels one output may nest. Pydantic reads no deeper JSON."""

LIMITS: Final = {
    "characters as JSON": LONGEST_OUTCOME,
    "items": MOST_PAYLOADS,
    "JSON values in all items": MOST_VALUES,
    "levels of objects and arrays in an item": DEEPEST,
}
"""All limits, by what they count."""
