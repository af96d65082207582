"""The form that answers a question: fields that are generated from the contract's type, or JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.utils import timezone

from executions.awaits import claims
from executions.awaits.answer_types import described_types_of, gives_many, problems, refusal, request_type, types_of
from executions.console.payloads import bounded_json, typed_value
from executions.errors import AnswerInvalid
from executions.models import Interaction
from executions.questions.filling import shared_data, value_of
from executions.questions.forms import ROOT_PATH, Data, Kind, Problem, edited, form_of, of_form, with_problems
from foundation.errors import CoordinatorError, InvalidRequest

AS_JSON = ("json", "json-next", "review-json", "edit-json")
AS_FIELDS = ("answer", "answer-next", "review")
REVIEWS = ("review", "review-json")


@dataclass
class AnswerForm:
    """A form with what was entered. `act` is its button: of AS_FIELDS, of AS_JSON, or an act of `questions.forms`."""

    question: Interaction
    data: Data
    act: str
    draft: str = ""
    note: str = ""
    take_over: bool = False
    prefilled: bool = False

    def __post_init__(self) -> None:
        self._types = described_types_of(self.question)
        self.many = gives_many(self.question)
        if self.is_edit:
            self.data = edited(self._types, self.question.output_type, self.data, self.act, many=self.many)
        self.part = form_of(self._types, self.question.output_type, self.data, many=self.many)

    @classmethod
    def fresh(cls, question: Interaction) -> "AnswerForm":
        """Return the form of an open question, with the values that its request and its answer share."""
        data: Data = {}
        request = request_type(question)
        if request is not None and not gives_many(question):
            types = described_types_of(question)
            zone = timezone.get_current_timezone()
            data = shared_data(types, question.output_type, request, question.request, zone)
        return cls(question, data, AS_FIELDS[0], prefilled=bool(data))

    @classmethod
    def submitted(cls, question: Interaction, posted: Mapping[str, str]) -> "AnswerForm":
        return cls(
            question,
            of_form(posted),
            posted.get("do", AS_JSON[0]),
            draft=posted.get("response", ""),
            note=posted.get("note", "").replace("\r\n", "\n"),
            take_over=bool(posted.get("take_over")),
        )

    @property
    def has_fields(self) -> bool:
        """True if the contract defines a type from which fields can be generated."""
        return self.part.kind is not Kind.JSON

    @property
    def is_edit(self) -> bool:
        return self.act == "edit-json" or self.act not in (*AS_JSON, *AS_FIELDS)

    @property
    def is_review(self) -> bool:
        """True if the person asks for a summary before sending the answer."""
        return self.act in REVIEWS

    @property
    def is_json(self) -> bool:
        return self.act in AS_JSON

    @property
    def then_next(self) -> bool:
        return self.act.endswith("-next")

    @property
    def has_comment(self) -> bool:
        """True if the answer has a member for a comment, so that no second field for one is needed."""
        return any(part.is_comment for part in self.part.parts)

    @property
    def buttons(self) -> str:
        """The kind of the form: a key of `present.BUTTONS`."""
        return "fields" if self.has_fields else "json"

    @property
    def entries(self) -> dict[str, str]:
        """What was entered, by the names of the fields: `submitted` makes the same form of it."""
        return {**self.data, "note": self.note} | ({"response": self.draft} if self.is_json else {})

    @property
    def definition(self) -> dict[str, Any] | None:
        """The contract's definition of the answer's type, or None if it has none."""
        entry = types_of(self.question).get(self.question.output_type)
        definition = entry.get("definition") if isinstance(entry, Mapping) and "runtimeClass" in entry else None
        return bounded_json(definition) if definition else None

    def response(self) -> Any:
        """Return the answer. Raises `AnswerInvalid` and `InvalidRequest` with the problems of what was entered."""
        require_text(self.note, "note", claims.LONGEST_NOTE)
        if self.is_json:
            return typed_value(self.draft, field=ROOT_PATH)
        value, problems = value_of(self.part, timezone.get_current_timezone(), _read_json)
        if problems:
            raise AnswerInvalid("Some fields have a problem.", errors=[dict(problem) for problem in problems])
        self.draft = json.dumps(value, ensure_ascii=False, indent=2)
        return typed_value(self.draft, field=ROOT_PATH)

    def checked(self) -> Any:
        """Return the answer. Raises as `response` does, and `AnswerInvalid` if it is not of the contract's type."""
        value = self.response()
        if refused := problems(self.question, value):
            raise refusal(refused)
        return value

    def place(self, error: CoordinatorError) -> list[Problem]:
        """Put the problems of a rejected answer at their fields. Return those that belong to none."""
        if self.is_json:
            return list(error.errors)
        self.part, rest = with_problems(self.part, list(error.errors))
        if self.part.kind in (Kind.GROUP, Kind.LIST):
            rest += [{"field": ROOT_PATH, "code": error.code, "message": message} for message in self.part.problems]
            self.part = replace(self.part, problems=())
        return rest


def require_text(text: str, field: str, longest: int) -> None:
    """Raise `InvalidRequest` if a text cannot be stored."""
    if len(text) > longest or "\0" in text:
        message = f"must have at most {longest} characters, and no character U+0000"
        problem = {"field": field, "code": "INVALID", "message": message}
        raise InvalidRequest(f"{field} {message}", errors=[problem])


def _read_json(text: str, path: str) -> tuple[Any, list[Problem]]:
    try:
        return typed_value(text, field="value"), []
    except InvalidRequest as error:
        return None, [{**problem, "field": path + problem["field"].removeprefix("value")} for problem in error.errors]
