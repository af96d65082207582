"""How often tests repeat what depends on chance: rarely in `make test`, often in the part `chance`."""

import os
from typing import Final

THOROUGH: Final = bool(os.environ.get("TEST_THOROUGH"))
EXAMPLES: Final = 400 if THOROUGH else 100
"""The number of examples that Hypothesis generates for a test."""


def rounds(many: int) -> range:
    """Return the rounds of a race: four, or `many` if the tests are thorough."""
    return range(many if THOROUGH else 4)
