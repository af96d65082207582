"""Awaits that ask only if a function of the author says so (ADR 127)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.catalogue import Catalogue, without_none
from pipelines.authoring.planned_step import PlannedStep, signature
from pipelines.authoring.values import Hinted
from pipelines.errors import DefinitionError


def planned_condition(
    index: int, name: str, function: Callable[..., Any], request: Hinted, catalogue: Catalogue
) -> PlannedStep:
    """Return the condition of an await as a step. Raises ``DefinitionError`` INVALID_CONDITION, or of ``signature``."""
    where = f'await "{name}", its condition'
    if not callable(function) or isinstance(function, type):
        raise DefinitionError("INVALID_CONDITION", f"{where} is no function; write when=needs_approval")
    read = signature(where, function, catalogue)
    takes = catalogue.is_within(request.item.expression, read.taken.item.expression)
    if not takes or read.taken.many is not request.many or read.returned.text != "boolean":
        raise DefinitionError(
            "INVALID_CONDITION",
            f"{where} takes {read.taken.text} and returns {read.returned.text}; let it take the request, "
            f"{request.text}, and return bool",
        )
    return PlannedStep(
        index=index,
        name=name,
        cardinality=Cardinality.of(takes_many=request.many, gives_many=False),
        input=read.taken.item,
        output=read.returned.item,
        function=function,
        wants_context=read.wants_context,
        collects=read.taken.collects,
        is_async=read.is_async,
    )


def mistakes(step: PlannedStep, following: PlannedStep | None, *, follows_stream: bool) -> Iterator[str]:
    """Yield what is wrong around an await with a condition. ``following`` is the step after it."""
    if follows_stream and not step.cardinality.takes_many:
        yield f"asks one question for each item of a stream; let it ask for all: request=list[{step.input.type_id}]"
    elif step.cardinality.gives_many:
        yield "has a list as its response, so a step cannot tell that it was not asked; make it one value"
    elif following is None or following.answered is None or not without_none(following.answered.answer.item.hint)[1]:
        response = f"{step.output.type_id} | None"
        yield f"may not ask, so the step after it takes the request and an answer that may be None: {response}"
