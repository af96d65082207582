"""The errors of authors: a definition that cannot be built, and a step that must not be retried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class DefinitionError(Exception):
    """A pipeline cannot be loaded, compiled, packed, released, published or hosted.

    ``code`` is stable and in UPPER_SNAKE_CASE. ``message`` says what the mistake is and what to write instead.
    ``place`` is the author's file and line, such as ``orders.py:12``; empty if the mistake is in no file. ``errors``
    contains every mistake that was found; this error is the first of them.
    """

    def __init__(self, code: str, message: str, place: str = "") -> None:
        super().__init__(code, message, place)
        self.code = code
        self.message = message
        self.place = place
        self.errors: tuple[DefinitionError, ...] = (self,)

    def __str__(self) -> str:
        return "\n".join(
            ": ".join(part for part in (problem.code, problem.place, problem.message) if part)
            for problem in self.errors
        )

    @classmethod
    def of_all(cls, errors: Sequence[DefinitionError]) -> DefinitionError:
        """Return one error that represents all of ``errors``, which must not be empty."""
        every = tuple(problem for error in errors for problem in error.errors)
        if len(every) == 1:
            return every[0]
        first = cls(every[0].code, every[0].message, every[0].place)
        first.errors = every
        return first


@contextmanager
def collected(errors: list[DefinitionError]) -> Iterator[None]:
    """Append an error that the block raises to ``errors``, so that the caller can continue and find further ones."""
    try:
        yield
    except DefinitionError as error:
        errors.append(error)


@contextmanager
def placed(place: Callable[[], str]) -> Iterator[None]:
    """Set the place of errors that the block raises, unless they have a more exact one."""
    try:
        yield
    except DefinitionError as error:
        for problem in (error, *error.errors):
            problem.place = problem.place or place()
        raise


def raise_all(errors: Sequence[DefinitionError]) -> None:
    """Raise one ``DefinitionError`` for all of ``errors``, if there are any."""
    if errors:
        raise DefinitionError.of_all(errors) from errors[0]


class NonRetryable(Exception):
    """Raise it in a step for a failure that no retry can fix. The execution then fails without further attempts."""


class StepTimeout(TimeoutError):
    """A step exceeded its time limit. Its failure has the code STEP_TIMEOUT."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it exceeded its time limit of {seconds:g} s")


class EventLoopBlocked(Exception):
    """Another step blocked the event loop of the worker, so this step ended. It is always retried.

    Its failure has the code EVENT_LOOP_BLOCKED.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"another async step of the worker blocked the event loop for {seconds:.0f} s")


class Cancelled(Exception):
    """Raised by ``StepContext.raise_if_cancelled`` once the outcome of the attempt does not count. Do not catch it."""

    def __init__(self, message: str = "The outcome of this attempt no longer counts.") -> None:
        super().__init__(message)
