"""The form that is generated from a type and what was entered so far: its parts, their fields, and its acts."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Any, Final
from urllib.parse import quote

from executions.questions.readable import readable_name
from wire.comparison.type_shapes import Form, Limits, Shape, Types, limits_of
from wire.documents.json_reader import shown

ROOT: Final = "answer"
"""The name of the part that stands for the whole answer."""
ROOT_PATH: Final = "response"
"""The path of the whole answer in problems, as the use case names it."""
DEEPEST: Final = 8
MOST_ITEMS: Final = 50
MOST_PARTS: Final = 300
MOST_OPTIONS: Final = 100_000
LONGEST_NUMBER: Final = 1000
"""Types that nest deeper, longer lists, larger forms, and numbers of more digits are edited as JSON.

A part sends at most three fields, and Django accepts 1,000. The options of all choices together have at most
MOST_OPTIONS characters, each option with 20 for its markup.
"""

Data = Mapping[str, str]
"""A submitted form. A part with the name N has the field N, and markers:

- `N:given`: an optional group or list is present.
- `N:items`: the numbers of a list's items, in order.
- `N:json`: N holds JSON.
- `N:null`: the value is null if nothing is entered.
- `N:empty`: the empty text is meant.
- `N:was`: the text of a time before it was converted to the person's time zone.
"""
Problem = Mapping[str, str]
"""A problem of an answer: `field`, `code` and `message`."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")


class Kind(StrEnum):
    """How a part is entered."""

    GROUP = "group"
    LIST = "list"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    TEXT = "text"
    LONG_TEXT = "long text"
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    DATE = "date"
    DATETIME = "date and time"
    UUID = "uuid"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form.

    `name` is that of its field, and `path` its place in the answer. `text` is what was entered. `parts` are the members
    of a group that is `present`, or the items of a list. `number` is an item's number in its list's field.
    """

    kind: Kind
    name: str
    path: str
    label: str
    required: bool
    text: str = ""
    present: bool = True
    null: bool = False
    empty: bool = False
    was: str = ""
    choices: Sequence[str] = ()
    help: str = ""
    number: str = ""
    member: str = ""
    parts: Sequence["Part"] = ()
    problems: Sequence[str] = ()

    @property
    def is_choice_of_few(self) -> bool:
        return len(self.choices) <= 5

    @property
    def is_comment(self) -> bool:
        return self.kind is Kind.LONG_TEXT and not COMMENTS.isdisjoint(readable_name(self.member).lower().split())

    @property
    def can_grow(self) -> bool:
        return len(self.parts) < MOST_ITEMS

    @property
    def input_type(self) -> str:
        """The type of the HTML input. Dates and times that its browser widget cannot show are entered as text."""
        if self.kind is Kind.DATE and (not self.text or _DATE.fullmatch(self.text)):
            return "date"
        if self.kind is Kind.DATETIME and (not self.text or _MOMENT.fullmatch(self.text)):
            return "datetime-local"
        return "text"

    @property
    def numbers(self) -> str:
        """The value of the marker `items`."""
        return " ".join(part.number for part in self.parts)

    @property
    def options(self) -> list[tuple[str, str]]:
        """The values of a choice's field, with their texts. The field is empty if nothing is chosen."""
        return [(f"={choice}", choice) for choice in self.choices]


def name_of_member(name: str, member: str) -> str:
    """Return the name of a group's member. Dots and colons in `member` are escaped."""
    return f"{name}.{quote(member, safe='').replace('.', '%2E')}"


def name_of_item(name: str, number: str) -> str:
    return f"{name}.{number}"


def may_be_left_out(field: Mapping[str, Any]) -> bool:
    """Return True if nothing need be entered for a field of a record: it is optional, or null stands for nothing."""
    return field.get("optional") is True or field.get("nullable") is True


def marker(name: str, kind: str) -> str:
    return f"{name}:{kind}"


def numbers_in(data: Data, name: str) -> list[str]:
    """Return the numbers of a list's items. Ignores what no form sends."""
    numbers = data.get(marker(name, "items"), "").split()
    return list(
        dict.fromkeys(number for number in numbers if number.isascii() and number.isdigit() and len(number) < 7)
    )[:MOST_ITEMS]


# --- building ---

LONG = 200
LONG_NAMES = frozenset(
    ("comment", "comments", "description", "explanation", "justification", "message", "note", "notes", "remark", "text")
)
"""Texts get several lines if the contract allows more than LONG characters, or if their names contain such a word."""
COMMENTS = frozenset(("comment", "comments", "note", "notes", "remark", "remarks"))
"""Names of members that are comments of the person who answers."""
JSON = "JSON."
_KINDS = {
    "string": Kind.TEXT,
    "datetime": Kind.DATETIME,
    **{kind.value: kind for kind in (Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL, Kind.DATE, Kind.UUID)},
}


def form_of(types: Types, expression: Any, data: Data, *, many: bool = False) -> Part:
    """Return the form of the type. With `many`, the answer is a list of the type.

    Maps, unions, types that the contract does not define, and everything beyond the limits of `parts` are JSON.
    """
    root, fitting = _built(types, expression, data, many=many)
    if fitting:
        return root
    return Part(Kind.JSON, ROOT, ROOT_PATH, root.label, required=True, text=data.get(ROOT, ""), help=JSON)


def fits(types: Types, expression: Any, data: Data, *, many: bool = False) -> bool:
    """Return True if the form with this data is within MOST_PARTS and MOST_OPTIONS."""
    return _built(types, expression, data, many=many)[1]


def _built(types: Types, expression: Any, data: Data, *, many: bool) -> tuple[Part, bool]:
    """Return the form, and whether it is complete: beyond the limits the builder stops."""
    builder = _Builder(types, data)
    root = Part(Kind.JSON, ROOT, ROOT_PATH, "Answers" if many else "Answer", required=True)
    return (builder.repeated if many else builder.part)(root, expression, 0), not builder.is_full


def with_problems(part: Part, problems: list[Problem]) -> tuple[Part, list[Problem]]:
    """Return the part with the messages of the problems that are inside it, and the problems that are not."""
    parts, left = list[Part](), [problem for problem in problems if _is_inside(problem["field"], part.path)]
    others = [problem for problem in problems if problem not in left]
    for inner in part.parts:
        changed, left = with_problems(inner, left)
        parts.append(changed)
    return replace(part, parts=parts, problems=[problem["message"] for problem in left]), others


class _Builder:
    def __init__(self, types: Types, data: Data) -> None:
        self._types = types
        self._data = data
        self._parts = 0
        self._options = 0

    @property
    def is_full(self) -> bool:
        return self._parts > MOST_PARTS or self._options > MOST_OPTIONS

    def part(self, plain: Part, expression: Any, depth: int) -> Part:
        """Return the part for one value. `plain` has its name, path, label, and whether it is required."""
        self._parts += 1
        part = self._entered(plain)
        shape = self._types.shape(expression)
        if depth > DEEPEST or self.is_full or self._has(plain.name, "json"):
            return replace(part, help=_joined(part.help, JSON))
        if shape.form is Form.RECORD:
            return self._group(part, shape, depth)
        if shape.form is Form.SCALAR and shape.scalar in _KINDS:
            scalar = _scalar(part, shape)
            self._options += sum(len(choice) + 20 for choice in scalar.choices)
            return scalar
        return replace(part, help=_joined(part.help, JSON))

    def repeated(self, plain: Part, expression: Any, depth: int) -> Part:
        self._parts += 1
        part = self._entered(plain)
        if depth > DEEPEST or self.is_full or self._has(plain.name, "json"):
            return replace(part, help=_joined(part.help, JSON))
        items = [
            self.part(
                Part(
                    Kind.JSON,
                    name_of_item(part.name, number),
                    f"{part.path}[{place}]",
                    f"{part.label} {place + 1}",
                    required=True,
                    number=number,
                ),
                expression,
                depth + 1,
            )
            for place, number in enumerate(numbers_in(self._data, part.name))
        ]
        items = [_on_one_line(item) for item in items]
        return replace(part, kind=Kind.LIST, parts=items, present=part.required or part.present or bool(items))

    def _group(self, part: Part, shape: Shape, depth: int) -> Part:
        if not part.required and not part.present:
            return replace(part, kind=Kind.GROUP)
        fields = shape.parts.items()
        members = [self._member(part, name, field, depth + 1) for name, field in fields if not self.is_full]
        return replace(part, kind=Kind.GROUP, present=True, parts=members)

    def _member(self, group: Part, name: str, field: Mapping[str, Any], depth: int) -> Part:
        plain = Part(
            Kind.JSON,
            name_of_member(group.name, name),
            f"{group.path}.{shown(name)}",
            labelled(name, field),
            required=not may_be_left_out(field),
            null=may_be_left_out(field) and field.get("optional") is not True,
            member=name,
            help=described(field),
        )
        build = self.repeated if field.get("repeated") is True else self.part
        return build(plain, field.get("type"), depth)

    def _entered(self, part: Part) -> Part:
        return replace(
            part,
            text=self._data.get(part.name, ""),
            present=self._has(part.name, "given"),
            null=part.null or self._has(part.name, "null"),
            empty=self._has(part.name, "empty"),
            was=self._data.get(marker(part.name, "was"), ""),
        )

    def _has(self, name: str, kind: str) -> bool:
        return bool(self._data.get(marker(name, kind)))


def _scalar(part: Part, shape: Shape) -> Part:
    limits = limits_of(shape)
    kind = _KINDS[shape.scalar]
    if kind is Kind.TEXT and limits.choices is not None:
        ordered = [choice for choice in shape.parts if choice in limits.choices]
        return replace(part, kind=Kind.CHOICE, choices=[*ordered, *sorted(limits.choices.difference(ordered))])
    words = f"{part.label} {readable_name(part.member)}".lower().split()
    has_long_name = not LONG_NAMES.isdisjoint(words)
    if kind is Kind.TEXT and (LONG < limits.longest < inf or "\n" in part.text or has_long_name):
        kind = Kind.LONG_TEXT
    return replace(part, kind=kind, help=_joined(part.help, _help(limits)))


def labelled(name: str, field: Mapping[str, Any]) -> str:
    """Return the label of a field: its title with its unit, or else its name in words."""
    label, unit = field.get("title") or readable_name(name), field.get("unit")
    return f"{label} ({unit})" if unit else label


def described(field: Mapping[str, Any]) -> str:
    """Return the author's description of a field, with its examples."""
    text, examples = field.get("description", ""), " or ".join(field.get("examples", ()))
    ended = text if not text or text.endswith((".", "!", "?", ":")) else f"{text}."
    return _joined(ended, f"For example {examples}." if examples else "")


def _joined(*texts: str) -> str:
    return " ".join(filter(None, texts))


def _on_one_line(item: Part) -> Part:
    short = item.kind is Kind.LONG_TEXT and "\n" not in item.text
    return replace(item, kind=Kind.TEXT) if short else item


def _help(limits: Limits) -> str:
    """Say which values the contract allows."""
    rules = []
    if limits.shortest:
        rules.append(f"at least {_characters(limits.shortest)}")
    if limits.longest != inf:
        rules.append(f"at most {_characters(int(limits.longest))}")
    for bound, inclusive, strict in ((limits.lower, "at least", "more than"), (limits.upper, "at most", "less than")):
        if bound is not None:
            rules.append(f"{strict if bound[1] else inclusive} {bound[0]}")
    text = ", ".join(rules)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _characters(count: int) -> str:
    return "1 character" if count == 1 else f"{count:,} characters"


def _is_inside(field: str, path: str) -> bool:
    return field == path or (field.startswith(path) and field[len(path)] in ".[{")


# --- what a person does with the form ---


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
    member, _, number = name.rpartition(".")
    numbers = [other for other in numbers_in(data, member) if other != number]
    return {**_omit(data, name), marker(member, "items"): " ".join(numbers)}


def _give(data: Data, name: str) -> dict[str, str]:
    return {**data, marker(name, "given"): "1"}


def _omit(data: Data, name: str) -> dict[str, str]:
    inside = (f"{name}.", f"{name}:")
    return {key: text for key, text in data.items() if key != name and not key.startswith(inside)}


ACTS: Final[Mapping[str, Callable[[Data, str], dict[str, str]]]] = {
    "add": _add,
    "remove": _remove,
    "give": _give,
    "omit": _omit,
}
