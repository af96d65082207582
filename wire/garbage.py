"""The collection of garbage in processes that run for long."""

import gc


def settle() -> None:
    """Call this once a process has loaded what it uses. Its modules are then never searched for garbage again.

    They are hundreds of thousands of objects, which each full collection would visit.
    """
    gc.collect()
    gc.freeze()
