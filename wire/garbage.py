"""The collection of garbage in processes that run for long."""

import gc
from typing import Final

MOST_YOUNG: Final = 10_000
"""How many more objects than before exist when the youngest are searched for garbage. Python's default is 700."""


def settle() -> None:
    """Call this once a process has loaded what it uses. Its modules are then never searched for garbage again.

    They are hundreds of thousands of objects, which each full collection would visit. A request or a message leaves few
    objects that only a collection finds, so collections may be rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MOST_YOUNG, 10, 10)
