"""The type of an answer: what the contract of its execution says about it, and whether an answer is of it."""

from collections.abc import Mapping
from typing import Any

from executions.errors import AnswerInvalid
from executions.models import Interaction
from executions.questions.described import DescribedTypes
from wire.documents.canonical_types import mismatches

MOST_PROBLEMS = 100


def problems(question: Interaction, response: Any) -> list[dict[str, str]]:
    """Return the problems of an answer: it is not a list although several are due, or not of the contract's type."""
    many = gives_many(question)
    if many and not isinstance(response, list):
        return [_problem("response", "must be an array of answers")]
    if question.execution.release.contract is None or not question.execution.release.pipeline.validate_answers:
        return []
    types = types_of(question)
    places = [(f"response[{place}]", item) for place, item in enumerate(response)] if many else [("response", response)]
    return [
        _problem(f"{place}{path}", rule)
        for place, item in places
        for path, rule in mismatches(types, question.output_type, item)
    ]


def refusal(problems: list[dict[str, str]]) -> AnswerInvalid:
    summary = "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems[:3])
    return AnswerInvalid(summary, errors=problems[:MOST_PROBLEMS])


def gives_many(question: Interaction) -> bool:
    """True if the one answer of the unit is a list."""
    return question.unit.gives_many and not question.unit.itemized


def types_of(question: Interaction) -> Mapping[str, Any]:
    """Return the types of the contract, with an entry for the output type: scalars have none.

    A name that the contract does not define accepts every value.
    """
    contract = question.execution.release.contract
    types = contract.document.get("canonicalTypes") if contract else None
    canonical_types: Mapping[str, Any] = types if isinstance(types, Mapping) else {}
    if question.output_type in canonical_types:
        return canonical_types
    alias = {"kind": "alias", "target": {"kind": "scalar", "id": question.output_type}}
    return {**canonical_types, question.output_type: {"definition": alias}}


def described_types_of(question: Interaction) -> DescribedTypes:
    """Return the types of the contract with what their author says about them to people."""
    return DescribedTypes(types_of(question), question.execution.release.declarations.get("types", {}))


def request_type(question: Interaction) -> str | None:
    """Return the name of the type of the request, which is the input of the await in the contract; None if unknown."""
    contract = question.execution.release.contract
    steps = contract.document.get("steps") if contract else None
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, Mapping) and step.get("index") == question.step_index and step.get("kind") == "await":
            return step.get("inputTypeId")
    return None


def _problem(field: str, rule: str) -> dict[str, str]:
    return {"field": field, "code": "ANSWER_TYPE", "message": rule}
