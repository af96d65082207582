"""The expected outcome of each trick of the hostile pipeline."""

from pathlib import Path

PIPELINE = Path(__file__).parent / "pipeline"
BAD_OUTPUT = ("INVALID_STEP_OUTPUT", False)

FAILURES: dict[str, tuple[str, bool]] = {
    "an error": ("RuntimeError", True),
    "a final error": ("pipelines.errors.NonRetryable", False),
    "an error whose text raises": ("hostile.Mute", True),
    "a final error whose text raises": ("hostile.MuteAndFinal", False),
    "an error whose text is None": ("hostile.Nameless", True),
    "an error whose text exits": ("hostile.Leaving", True),
    "an error whose text is no plain str": ("hostile.Worded", True),
    "an error whose class has no name": ("UNNAMED_EXCEPTION", True),
    "an error whose cause raises": ("hostile.Causeless", True),
    "an error that is its own cause": ("ValueError", True),
    "a text of ten million characters": ("ValueError", True),
    "a text of control characters": ("ValueError", True),
    "a group of errors": ("BaseExceptionGroup", True),
    "asyncio.CancelledError": ("asyncio.exceptions.CancelledError", True),
    "KeyboardInterrupt": ("KeyboardInterrupt", True),
    "GeneratorExit": ("GeneratorExit", True),
    "SystemExit": ("SystemExit", True),
    "a shutdown of the worker": ("hostile.Shutdown", True),
    "StopIteration": ("StopIteration", True),
    "MemoryError": ("MemoryError", True),
    "recursion without end": ("RecursionError", True),
    "another step": ("pipelines.errors.DefinitionError", True),
    "nothing": BAD_OUTPUT,
    "a text": BAD_OUTPUT,
    "an iterable that cannot begin": ("ConnectionError", True),
    "an iterable that is cancelled": ("asyncio.exceptions.CancelledError", True),
    "an object without a class": BAD_OUTPUT,
    "a generator that is interrupted": ("KeyboardInterrupt", True),
    "an item without attributes": ("KeyboardInterrupt", True),
    "an item that is no item": BAD_OUTPUT,
    "a cyclic value": BAD_OUTPUT,
    "a value of 300 levels": BAD_OUTPUT,
    "a value of 100,000 levels": BAD_OUTPUT,
    "NaN": BAD_OUTPUT,
    "infinity": BAD_OUTPUT,
    "half of a surrogate pair": BAD_OUTPUT,
    "half of a surrogate pair as a key": BAD_OUTPUT,
    "NUL": BAD_OUTPUT,
    "an object": BAD_OUTPUT,
    "bytes": BAD_OUTPUT,
    "a number of 5,000 digits": BAD_OUTPUT,
    "too much": ("OUTPUT_TOO_LARGE", False),
}
"""Failure class, and whether a retry may help."""

# Tricks that harm no transition, not even their own.
TAMPERING = (
    "a high recursion limit",
    "signal handlers",
    "silence in the log",
    "no log handlers",
    "no standard output",
    "a closed standard error",
    "another directory",
    "an empty environment",
)
ENDING = ("os._exit", "a segmentation fault")
