"""Steps that take the request of the await before them, besides its answer (ADR 118).

``def book(invoice: Invoice, decision: Decision) -> Booking`` gets the request as the coordinator stored it. No answer
can change it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.values import Hinted, ValueType
from wire.documents.request_and_answer import ANSWER, REQUEST, request_and_answer_type

if TYPE_CHECKING:
    from pipelines.authoring.catalogue import Catalogue, TypeExpression


@dataclass(frozen=True, slots=True)
class RequestAndAnswer:
    """The two values that a step takes after an await.

    ``zipped``: the await asks one question for each item of a stream, and one call of the step takes all requests and
    all answers, in the order of the items.
    """

    request: Hinted
    answer: Hinted
    zipped: bool

    @classmethod
    def of(cls, request: Hinted, answer: Hinted, asked: Cardinality | None) -> RequestAndAnswer:
        """``asked`` is the cardinality of the await, None if it could not be read."""
        return cls(request, answer, asked is Cardinality.ONE_TO_ONE and request.many and answer.many)

    @property
    def takes_many(self) -> bool:
        """True if the step takes the whole stream that the await gives."""
        return self.answer.many

    def value_type(self, await_name: str, catalogue: Catalogue, where: str, *, conditional: bool) -> ValueType:
        """Return the type of both together, and add it to the catalogue: a record named after the await.

        ``conditional``: the await may not ask, and the answer is then null.
        """
        members = {REQUEST: self.request, ANSWER: self.answer}
        repeated = {name: member.many and not self.zipped for name, member in members.items()}
        types = [(name, member.item.expression, repeated[name]) for name, member in members.items()]
        expression: TypeExpression = catalogue.record_of(
            request_and_answer_type(await_name), types, nullable=(ANSWER,) if conditional else ()
        )
        hints = [
            (name, GenericAlias(list, (member.item.hint,)) if repeated[name] else member.item.hint)
            for name, member in members.items()
        ]
        return ValueType(dataclasses.make_dataclass("RequestAndAnswer", hints), catalogue, where, expression)

    def arguments(self, value: Any) -> tuple[Any, Any]:
        """Return both arguments of a call, for the value that the step takes: one pair, or a list if it takes many."""
        if self.zipped:
            requests, answers = [pair.request for pair in value], [pair.answer for pair in value]
        else:
            [pair] = value if self.takes_many else [value]
            requests, answers = pair.request, pair.answer
        return self.request.argument(requests), self.answer.argument(answers)

    def mistakes(self, asked: str, request: Hinted, answer: Hinted, catalogue: Catalogue) -> Iterator[str]:
        """Yield what does not fit the await ``asked`` with this request and this response."""
        for what, takes, gives in (("request", self.request, request), ("answer", self.answer, answer)):
            same_number = takes.many is gives.many or self.zipped
            if not same_number or not catalogue.is_within(gives.item.expression, takes.item.expression):
                yield (
                    f'takes the {what} {takes.text}, but "{asked}" before it has the {what} {gives.text}; write '
                    f"{what}: {gives.text}; the request comes first, and the answer second"
                )
