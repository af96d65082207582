"""Adds items and groups to a form, and removes them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from executions.questions.building import fits
from executions.questions.parts import MOST_ITEMS, ROOT, Data, marker, numbers_in
from wire.comparison.type_shapes import Types


def of_form(submitted: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of the form among those that were submitted."""
    return {name: text for name, text in submitted.items() if name == ROOT or name.startswith((f"{ROOT}.", f"{ROOT}:"))}


def edited(types: Types, expression: Any, data: Data, act: str, *, many: bool = False) -> dict[str, str]:
    """Return the data after an act of the form, such as `add:answer.items`. Unknown acts change nothing.

    `add` and `remove` are acts on the items of a list, `give` and `omit` those on optional groups and lists. An act
    that makes the form too large changes nothing.
    """
    kind, _, name = act.partition(":")
    changed = ACTS[kind](data, name) if kind in ACTS else dict(data)
    return changed if fits(types, expression, changed, many=many) else dict(data)


def _add(data: Data, name: str) -> dict[str, str]:
    numbers = numbers_in(data, name)
    if len(numbers) < MOST_ITEMS:
        numbers.append(str(max(map(int, numbers), default=-1) + 1))
    return {**data, marker(name, "given"): "1", marker(name, "items"): " ".join(numbers)}


def _remove(data: Data, name: str) -> dict[str, str]:
    of, _, number = name.rpartition(".")
    numbers = [each for each in numbers_in(data, of) if each != number]
    return {**_without(data, name), marker(of, "items"): " ".join(numbers)}


def _give(data: Data, name: str) -> dict[str, str]:
    return {**data, marker(name, "given"): "1"}


def _omit(data: Data, name: str) -> dict[str, str]:
    return _without(data, name)


def _without(data: Data, name: str) -> dict[str, str]:
    inside = (f"{name}.", f"{name}:")
    return {key: text for key, text in data.items() if key != name and not key.startswith(inside)}


ACTS: Final[Mapping[str, Callable[[Data, str], dict[str, str]]]] = {
    "add": _add,
    "remove": _remove,
    "give": _give,
    "omit": _omit,
}
