"""Checks an input against the first step of a contract."""

from collections.abc import Set
from typing import Any

from wire.documents.canonical_types import Mismatch, mismatches
from wire.documents.contract import Contract, takes_many


def shape_of(contract: Contract | None, requested: str | None = None) -> str:
    """Return UNI if an input is one value, or MULTI if it is a list of items.

    The first step of the contract determines the shape, unless one is `requested`.
    """
    if contract is None or not contract.steps:
        return requested or "UNI"
    return requested or ("MULTI" if takes_many(contract.steps[0].cardinality) else "UNI")


def wrong(contract: Contract | None, value: Any, shape: str, *, shown: Set[str] | None = None) -> list[Mismatch]:
    """Return the places where an input of this shape does not have the type of the first step, and the rules.

    The paths begin with `input`. `shown` is that of `canonical_types.mismatches`.
    """
    if contract is None or not contract.steps:
        return []
    if shape != "MULTI":
        return [(f"input{path}", rule) for path, rule in _mismatches(contract, value, shown)]
    if not isinstance(value, list):
        return [("input", "must be an array of items")]
    return [
        (f"input[{index}]{path}", rule)
        for index, item in enumerate(value)
        for path, rule in _mismatches(contract, item, shown)
    ]


def _mismatches(contract: Contract, item: Any, shown: Set[str] | None) -> list[Mismatch]:
    type_id = contract.steps[0].input_type_id
    return mismatches(contract.canonical_types, type_id, item, shown=shown) if type_id else []
