from pathlib import Path

PIPELINE = Path(__file__).parent / "pipeline"
BAD_OUTPUT = ("INVALID_STEP_OUTPUT", False)

FAILURES: dict[str, tuple[str, bool]] = {
    "an error": ("RuntimeError", True),
    "a final error": ("pipelines.errors.NonRetryable", False),
    "an error whose text raises": ("hostile.Mute", True),
    "a final error whose text raises": ("hostile.MuteAndFinal", False),
    "an error whose class has no name": ("UNNAMED_EXCEPTION", True),
    "an error that is its own cause": ("ValueError", True),
    "a text of control characters": ("ValueError", True),
    "asyncio.CancelledError": ("asyncio.exceptions.CancelledError", True),
    "KeyboardInterrupt": ("KeyboardInterrupt", True),
    "SystemExit": ("SystemExit", True),
    "StopIteration": ("StopIteration", True),
    "recursion without end": ("RecursionError", True),
    "nothing": BAD_OUTPUT,
    "a generator that is interrupted": ("KeyboardInterrupt", True),
    "a cyclic value": BAD_OUTPUT,
    "a value of 100,000 levels": BAD_OUTPUT,
    "NaN": BAD_OUTPUT,
    "half of a surrogate pair": BAD_OUTPUT,
    "NUL": BAD_OUTPUT,
    "too much": ("OUTPUT_TOO_LARGE", False),
}
"""Failure class, and whether a retry may help."""

# Tricks that harm no transition, not even their own.
TAMPERING = ("a high recursion limit", "signal handlers", "silence in the log", "a closed standard error")
ENDING = ("os._exit", "a segmentation fault")
