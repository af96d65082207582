"""The cardinalities of steps, by their names in contracts, and the result shape that follows from them. Pure."""

from collections.abc import Iterable
from typing import Literal

ResultShape = Literal["SINGLE", "MATERIALIZED_MULTI"]
"""Whether an execution has one result or a list of results."""


def takes_many(cardinality: str | None) -> bool:
    """Return True if one call of the step, or one request of the await, receives a whole stream."""
    return cardinality in ("MANY_TO_ONE", "MANY_TO_MANY", "REDUCTION")


def gives_many(cardinality: str | None) -> bool:
    """Return True if the step, or the response to the await, returns a stream."""
    return cardinality in ("ONE_TO_MANY", "MANY_TO_MANY", "EXPANSION")


def ends_in_stream(cardinalities: Iterable[str | None]) -> bool:
    """Return True if one value that passes through these steps becomes a stream (wire protocol C.1.3).

    A step of any other cardinality maps one value to one value, and a stream to a stream.
    """
    many = False
    for cardinality in cardinalities:
        many = gives_many(cardinality) or (many and not takes_many(cardinality))
    return many


def result_shape(cardinalities: Iterable[str | None]) -> ResultShape:
    """Return the shape of the result of an execution of these steps."""
    return "MATERIALIZED_MULTI" if ends_in_stream(cardinalities) else "SINGLE"
