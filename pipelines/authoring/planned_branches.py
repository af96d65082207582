"""Reads and checks steps with branches (ADR 127)."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Any

from pipelines.authoring.branches import Branching
from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.catalogue import Catalogue, plain
from pipelines.authoring.planned_step import BranchPlace, PlannedBranching, PlannedStep, signature
from pipelines.authoring.values import Encoded, ValueType
from pipelines.errors import DefinitionError, collected, raise_all
from wire.documents.branching import GATHER, branches_type


def planned_branching(index: int, part: Branching, catalogue: Catalogue) -> PlannedStep:
    """Return a step with branches.

    Raises one ``DefinitionError`` for all mistakes: INVALID_BRANCHES, TYPES_DO_NOT_CHAIN, and those of ``signature``.
    """
    errors: list[DefinitionError] = []
    steps: dict[str, PlannedStep] = {}
    number = len(part.branches) if part.kind == GATHER else 1
    for place, (name, branch) in enumerate(part.branches.items()):
        with collected(errors):
            branch_place = BranchPlace(name, place if part.kind == GATHER else 0, number)
            steps[name] = dataclasses.replace(
                _planned_function(index, part, branch.function, branch_place, catalogue),
                policy=branch.policy,
                items=part.items,
            )
    route = None
    if part.route is not None:
        with collected(errors):
            route = _planned_function(index, part, part.route, None, catalogue)
            _check_route(part, route)
    raise_all(errors)
    first = next(iter(steps.values())) if route is None else route
    _check_inputs(part, first, [*steps.values()], catalogue)
    output = _joined_type(part, steps, catalogue) if route is None else _chosen_type(part, steps, catalogue)
    return PlannedStep(
        index=index,
        name=part.name,
        cardinality=Cardinality.ONE_TO_ONE,
        input=first.input,
        output=output,
        wants_context=any(step.wants_context for step in [*steps.values(), first]),
        items=part.items,
        branching=PlannedBranching(steps, route, part.place),
    )


def _planned_function(
    index: int, part: Branching, function: Callable[..., Any], place: BranchPlace | None, catalogue: Catalogue
) -> PlannedStep:
    where = f'step "{part.name}", ' + ("its route" if place is None else f"branch {place.name}")
    read = signature(where, function, catalogue)
    if read.taken.many:
        raise DefinitionError("INVALID_BRANCHES", f"{where} takes a list or stream; let it take one value")
    if read.returned.many and part.kind != GATHER:
        text = f"{where} gives a list or stream; make it a dataclass with one field: values: list[...]"
        raise DefinitionError("INVALID_BRANCHES", text)
    return PlannedStep(
        index=index,
        name=part.name,
        cardinality=Cardinality.of(takes_many=False, gives_many=read.returned.many),
        input=read.taken.item,
        output=read.returned.item,
        function=function,
        wants_context=read.wants_context,
        is_async=read.is_async,
        reads_async=read.reads_async,
        branch=place,
    )


def _check_route(part: Branching, route: PlannedStep) -> None:
    hint = plain(route.output.hint)
    names = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if set(names) != set(part.branches):
        literal = f"Literal[{', '.join(repr(name).replace(chr(39), chr(34)) for name in part.branches)}]"
        raise DefinitionError(
            "INVALID_BRANCHES",
            f'step "{part.name}" has the branches {", ".join(part.branches)}, so its route returns {literal}; '
            f"missing branches: {_listed(set(names) - set(part.branches))}; "
            f"branches that it never chooses: {_listed(set(part.branches) - set(names))}",
        )


def _listed(names: set[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def _check_inputs(part: Branching, first: PlannedStep, steps: list[PlannedStep], catalogue: Catalogue) -> None:
    for step in steps:
        if not catalogue.is_within(first.input.expression, step.input.expression):
            name = step.branch.name if step.branch is not None else ""
            raise DefinitionError(
                "TYPES_DO_NOT_CHAIN",
                f'step "{part.name}", branch {name} takes {step.input.type_id}, but '
                f"{_function_name(first)} takes {first.input.type_id}; all functions take the same value",
                part.place,
            )


def _function_name(step: PlannedStep) -> str:
    return "the route" if step.branch is None else f"branch {step.branch.name}"


def _joined_type(part: Branching, steps: Mapping[str, PlannedStep], catalogue: Catalogue) -> ValueType:
    """Return the record of the results of all branches, and add it to the catalogue."""
    many = {name: step.cardinality.gives_many for name, step in steps.items()}
    members = [(name, step.output.expression, many[name]) for name, step in steps.items()]
    nullable = [name for name, step in steps.items() if step.output.takes_none]
    expression = catalogue.record_of(branches_type(part.name), members, nullable)
    hints = [
        (name, GenericAlias(list, (step.output.hint,)) if many[name] else step.output.hint)
        for name, step in steps.items()
    ]
    return ValueType(dataclasses.make_dataclass("Branches", hints), catalogue, f'step "{part.name}"', expression)


def _chosen_type(part: Branching, steps: Mapping[str, PlannedStep], catalogue: Catalogue) -> ValueType:
    """Return the type of what the branches give, or the union of their types."""
    outputs = [step.output for step in steps.values()]
    for output in outputs:
        if all(catalogue.is_within(other.expression, output.expression) for other in outputs):
            return output
    hint: Any = typing.Union[tuple(output.hint for output in outputs)]  # noqa: UP007 - built
    return ValueType(hint, catalogue, f'step "{part.name}", what its branches give')


def joined(step: PlannedStep, results: list[Encoded]) -> Encoded:
    """Return the record of the results of all branches of a step, which are in their order."""
    names = list(step.branching.branches) if step.branching is not None else []
    values = dict(zip(names, (result.value for result in results), strict=True))
    documents = dict(zip(names, (result.document for result in results), strict=True))
    return Encoded(documents, step.output.hint(**values))
