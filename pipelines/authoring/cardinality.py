"""How many values a step takes and gives."""

from __future__ import annotations

from enum import StrEnum

from pipelines.errors import DefinitionError
from wire.documents.contract import gives_many, takes_many


class Cardinality(StrEnum):
    """How many values a step takes and how many it gives.

    One of ONE_TO_ONE, ONE_TO_MANY, MANY_TO_ONE and MANY_TO_MANY. Many values are a stream.
    """

    ONE_TO_ONE = "ONE_TO_ONE"
    ONE_TO_MANY = "ONE_TO_MANY"
    MANY_TO_ONE = "MANY_TO_ONE"
    MANY_TO_MANY = "MANY_TO_MANY"

    @classmethod
    def of(cls, *, takes_many: bool, gives_many: bool) -> Cardinality:
        """Return the cardinality with these two properties."""
        return cls(f"{'MANY' if takes_many else 'ONE'}_TO_{'MANY' if gives_many else 'ONE'}")

    @property
    def takes_many(self) -> bool:
        """True if one call of the step receives all values of a stream."""
        return takes_many(self)

    @property
    def gives_many(self) -> bool:
        """True if one call of the step returns a stream."""
        return gives_many(self)


def checked(step: str, value: Cardinality | str | None) -> Cardinality | None:
    """Return the cardinality that an author names. Raises ``DefinitionError`` UNKNOWN_CARDINALITY."""
    if value is None:
        return None
    try:
        return Cardinality(value)
    except ValueError:
        known = ", ".join(Cardinality)
        raise DefinitionError(
            "UNKNOWN_CARDINALITY", f'step "{step}" has cardinality {value!r}; use one of {known}'
        ) from None
