"""Steps that take the results of all branches of the step before them (ADR 127)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.authoring.values import Hinted
from pipelines.errors import DefinitionError

if TYPE_CHECKING:
    from pipelines.authoring.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class JoinedResults:
    """How a step takes the results of the branches before it: one parameter for each, by name.

    ``zipped``: the step takes the results for all items of a stream, each as a list.
    """

    parameters: Mapping[str, Hinted]
    zipped: bool

    @classmethod
    def of(
        cls,
        where: str,
        parameters: Mapping[str, Hinted],
        gather: str,
        results: Mapping[str, Hinted],
        catalogue: Catalogue,
    ) -> JoinedResults:
        """``results`` are those of the step ``gather``. Raises ``DefinitionError`` TYPES_DO_NOT_CHAIN."""
        zipped = not any(member.many for member in results.values()) and all(
            member.many for member in parameters.values()
        )
        fits = parameters.keys() == results.keys() and all(
            (taken.many is results[name].many or zipped)
            and catalogue.is_within(results[name].item.expression, taken.item.expression)
            for name, taken in parameters.items()
        )
        if not fits:
            written = ", ".join(f"{name}: {result.text}" for name, result in results.items())
            raise DefinitionError(
                "TYPES_DO_NOT_CHAIN",
                f'{where} follows "{gather}", so it takes one parameter for each branch; write ({written})',
            )
        return cls(parameters, zipped)

    def arguments(self, value: Any) -> tuple[Any, ...]:
        """Return the arguments of a call, for the value that the step takes: one record, or a list if ``zipped``."""
        if self.zipped:
            results = {name: [getattr(item, name) for item in value] for name in self.parameters}
        else:
            results = {name: getattr(value, name) for name in self.parameters}
        return tuple(parameter.argument(results[name]) for name, parameter in self.parameters.items())
