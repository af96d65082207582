"""What can go wrong on the author's side: a definition that cannot be built, a step that must not be retried."""

from __future__ import annotations


class DefinitionError(Exception):
    """A pipeline that cannot be loaded, compiled or packed.

    ``code`` is stable and UPPER_SNAKE; ``message`` says where the mistake is, what it is and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class NonRetryable(Exception):
    """Raised by a step for a failure that no retry can help. The execution then fails at once."""


class Cancelled(Exception):
    """Raised in a step when the outcome of its transition no longer counts: let it pass."""
