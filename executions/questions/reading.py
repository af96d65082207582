"""Reads the value out of a form."""

import re
from collections.abc import Callable
from datetime import tzinfo
from decimal import Decimal
from typing import Any, Final

from executions.questions.parts import LONGEST_NUMBER, Kind, Part, Problem, is_local, zoned_text
from wire.documents.canonical_types import SCALARS

ABSENT: Final = object()
"""Stands for a part in which nothing was entered."""
INVALID: Final = object()
"""Stands for an entry with a problem."""
ReadJson = Callable[[str, str], tuple[Any, list[Problem]]]
"""Returns the value in a JSON text and the problems of it. The second argument is the path of the value."""
CODE: Final = "ANSWER_TYPE"
_TEXTS = {Kind.DECIMAL: "decimal", Kind.DATE: "date", Kind.UUID: "uuid"}


def value_of(form: Part, zone: tzinfo, read_json: ReadJson) -> tuple[Any, list[Problem]]:
    """Return the answer in the form, and the problems. With problems, the answer is of no use."""
    reader = _Reader(zone, read_json)
    return reader.value(form), reader.problems


class _Reader:
    def __init__(self, zone: tzinfo, read_json: ReadJson) -> None:
        self._zone = zone
        self._read_json = read_json
        self.problems: list[Problem] = []

    def value(self, part: Part) -> Any:
        """Return the value of the part; ABSENT if it is optional and nothing was entered."""
        value = self._entered(part)
        if value is ABSENT and part.required:
            self._report(part, "is required")
        elif value is ABSENT and part.null:
            return None
        return value

    def _entered(self, part: Part) -> Any:
        if part.kind is Kind.GROUP:
            return self._group(part) if part.present else ABSENT
        if part.kind is Kind.LIST:
            return [self.value(item) for item in part.parts] if part.present else ABSENT
        if part.kind in (Kind.TEXT, Kind.LONG_TEXT):
            text = part.text.replace("\r\n", "\n")
            return text if text or part.required or part.empty else ABSENT
        if not part.text.strip() and part.kind is not Kind.CHOICE:
            return ABSENT
        return self._scalar(part)

    def _group(self, part: Part) -> dict[str, Any]:
        members = {member.member: self.value(member) for member in part.parts}
        return {name: value for name, value in members.items() if value is not ABSENT}

    def _scalar(self, part: Part) -> Any:
        if part.kind is Kind.JSON:
            value, problems = self._read_json(part.text, part.path)
            self.problems += problems
            return INVALID if problems else value
        if part.kind is Kind.CHOICE:
            return self._chosen(part)
        if part.kind is Kind.BOOLEAN:
            return {"true": True, "false": False}.get(part.text, ABSENT)
        if part.kind is Kind.DATETIME:
            return self._moment(part)
        if part.kind in _TEXTS:
            fits, rule = SCALARS[_TEXTS[part.kind]]
            text = part.text.strip()
            return text if fits(text) else self._report(part, rule.removesuffix(" in a string"))
        return self._number(part)

    def _chosen(self, part: Part) -> Any:
        if not part.text:
            return ABSENT
        chosen = part.text.removeprefix("=")
        return chosen if chosen in part.choices else self._report(part, "is not one of the choices")

    def _moment(self, part: Part) -> Any:
        if is_local(part.text, part.was, self._zone):
            return part.was
        return zoned_text(part.text.strip(), self._zone) or self._report(part, "must be a date and time")

    def _number(self, part: Part) -> Any:
        text = part.text.strip()
        if len(text) <= LONGEST_NUMBER and re.fullmatch(r"[+-]?\d+", text, re.ASCII):
            return int(text)
        if part.kind is Kind.INTEGER:
            return self._report(part, "must be an integer")
        if len(text) <= LONGEST_NUMBER and re.fullmatch(r"[+-]?\d*\.?\d+([eE][+-]?\d{1,4})?", text, re.ASCII):
            number = float(text)
            if Decimal(number).is_finite():
                return number
        return self._report(part, "must be a number")

    def _report(self, part: Part, rule: str) -> Any:
        self.problems.append({"field": part.path, "code": CODE, "message": rule})
        return INVALID
