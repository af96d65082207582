"""How many executions of a pipeline may be in progress at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import DefinitionError

EXAMPLE = 'write a limit such as Concurrency(limit=5, key="customer.id")'


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``limit`` executions with an equal key are in progress at once, over all releases of the pipeline.

    ``key`` is the path of a field of the input, such as ``customer.id``; without it, all executions have the same key.
    Further ones wait in their order with ``when_full="queue"``, and their submissions are refused with ``"refuse"``. An
    execution is in progress from its start until its end, also while it waits for a retry or an answer.
    """

    limit: int
    key: str = ""
    when_full: Literal["queue", "refuse"] = "queue"

    @property
    def declaration(self) -> dict[str, Any]:
        """The member ``concurrency`` of the declarations."""
        declared: dict[str, Any] = {"limit": self.limit}
        if self.key:
            declared["key"] = self.key
        if self.when_full != "queue":
            declared["whenFull"] = self.when_full
        return declared


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
