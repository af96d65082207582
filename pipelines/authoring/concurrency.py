"""How many executions of a pipeline start, and are in progress at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import DefinitionError

EXAMPLE = 'write a limit such as Concurrency(limit=5, key="customer.id")'


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``limit`` starts (1 to 1,000) in any period of ``seconds`` (1 to 86,400)."""

    limit: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Limits when executions with an equal key start, over all releases of the pipeline. At least one rule is set.

    At most ``limit`` of them (1 to 1,000) are in progress at once. An execution is in progress from the time that it
    gets its place until its end, also while it waits for a worker, a retry or an answer. ``rate`` limits how many start
    in a period. With ``debounce_seconds`` (1 to 86,400), an execution starts when no other was submitted with its key
    for that time. The newest replaces the others that wait: they are cancelled.

    ``key`` is the path of a field of the input, such as ``customer.id``; without it, all executions have the same key.
    With ``when_full="queue"``, further executions wait in the order of their submission. With ``"refuse"``, their
    submissions are refused.
    """

    limit: int | None = None
    key: str = ""
    when_full: Literal["queue", "refuse"] = "queue"
    rate: Rate | None = None
    debounce_seconds: int | None = None

    @property
    def declaration(self) -> dict[str, Any]:
        """The member ``concurrency`` of the declarations."""
        rate = self.rate
        members = {
            "limit": self.limit,
            "key": self.key or None,
            "whenFull": None if self.when_full == "queue" else self.when_full,
            "rate": {"limit": rate.limit, "seconds": rate.seconds} if isinstance(rate, Rate) else rate,
            "debounceSeconds": self.debounce_seconds,
        }
        return {name: value for name, value in members.items() if value is not None}


def checked(concurrency: Concurrency | None, place: str) -> Concurrency | None:
    """Return a valid limit, whose key ``mistakes`` checks. Raises ``DefinitionError`` INVALID_CONCURRENCY."""
    if concurrency is None:
        return None
    from wire.documents.concurrency import wrong_limit  # most pipelines, and so most workers, do not need it

    is_limit = isinstance(concurrency, Concurrency)
    if problem := next(wrong_limit(concurrency.declaration), "") if is_limit else f"concurrency is {concurrency!r}":
        raise DefinitionError("INVALID_CONCURRENCY", f"{problem}; {EXAMPLE}", place)
    return concurrency


def mistakes(
    concurrency: Concurrency, place: str, types: Mapping[str, Any], type_id: str, *, takes_many: bool
) -> Iterator[DefinitionError]:
    """Yield an INVALID_CONCURRENCY if the key does not lead to one value of the input, which has this type."""
    from wire.documents.search_types import kind_at  # most pipelines, and so most workers, do not need it

    if not concurrency.key:
        return
    problem = "the first step takes many, so the input has no fields" if takes_many else ""
    if not problem:
        try:
            kind_at(types, type_id, concurrency.key)
        except ValueError as error:
            problem = str(error)
    if problem:
        text = f"concurrency has the key {concurrency.key!r}, but {problem}"
        yield DefinitionError("INVALID_CONCURRENCY", text, place)
