"""Reads and checks the steps of a pipeline and their types, for the compiler and the runner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pipelines.authoring import places
from pipelines.authoring.branches import Branching
from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.catalogue import Catalogue
from pipelines.authoring.definition import Part, Pipeline, Step
from pipelines.authoring.items import problem_of
from pipelines.authoring.planned_step import LimitKey, PlannedStep, signature, typed, typed_all
from pipelines.authoring.values import Hinted
from pipelines.authoring.waits import Await
from pipelines.errors import DefinitionError, collected, placed, raise_all
from wire.documents.branching import GATHER, MOST_BRANCHES
from wire.documents.contract import TIMER, ends_in_stream


@dataclass(frozen=True, slots=True)
class Plan:
    """``limits`` has the time limits of steps and branches in seconds. ``is_supervised``: a limit or an async step."""

    steps: tuple[PlannedStep, ...]
    catalogue: Catalogue
    limits: Mapping[LimitKey, float]
    is_supervised: bool

    def limits_with(self, changed: Mapping[int, float]) -> Mapping[LimitKey, float]:
        """Return the limits, with those of ``changed`` by the index of a step: for its function, or each branch."""
        functions = ((step, seconds) for i, seconds in changed.items() for step in self.steps[i : i + 1])
        limits = {function.limit_key: seconds for step, seconds in functions for function in step.called}
        return {**self.limits, **limits}


def plan(pipeline: Pipeline, *, constraints: bool = True) -> Plan:
    """Read and check all steps. The result is cached until the pipeline gets another step.

    ``constraints`` is that of ``Catalogue``.

    Raises one ``DefinitionError`` for all mistakes, including those found while the pipeline's module was loaded:
    EMPTY_PIPELINE, NO_TYPE_HINTS, UNRESOLVED_HINT, UNSUPPORTED_TYPE, TYPE_NOT_IMPORTABLE, INVALID_SIGNATURE,
    ASYNC_STEP, CARDINALITY_MISMATCH, STEP_NOT_IMPORTABLE, AWAIT_CARDINALITY, TYPES_DO_NOT_CHAIN, INVALID_SEARCH,
    INVALID_PARALLEL, INVALID_BRANCHES, INVALID_CONDITION.
    """
    return _plan(pipeline, len(pipeline.parts), constraints)


@lru_cache(maxsize=64)
def _plan(pipeline: Pipeline, size: int, constraints: bool) -> Plan:
    errors = list(pipeline.mistakes)
    if size == 0 and not errors:
        raise DefinitionError(
            "EMPTY_PIPELINE",
            f"pipeline {pipeline.pipeline_id} has no steps; add one with @pipeline.step",
            pipeline.place,
        )
    catalogue = Catalogue(constraints=constraints)
    steps: list[PlannedStep] = []
    for index, part in enumerate(pipeline.parts):
        # If a step cannot be read, the type of the input of a timer after it is unknown.
        if len(steps) < index and _is_untyped_timer(part):
            continue
        with collected(errors), placed(lambda part=part: part.place):  # type: ignore[misc]
            steps.append(_planned(index, part, catalogue, steps, pipeline))
    errors += [_null(step) for step in steps if _may_not_be_null(step)]
    if not pipeline.mistakes:
        _check_chain(steps, catalogue, errors)
        errors += _item_mistakes(steps)
    if not errors:
        errors += _condition_mistakes(steps)
    if pipeline.search and not errors:
        errors += _search_mistakes(pipeline, steps[0], catalogue)
    if pipeline.concurrency is not None and not errors:
        from pipelines.authoring.concurrency import mistakes

        types, many = catalogue.canonical_types(), steps[0].cardinality.takes_many
        errors += mistakes(pipeline.concurrency, pipeline.place, types, steps[0].input.type_id, takes_many=many)
    raise_all([*errors, *catalogue.doubts] if errors else ())
    called = [function for step in steps for function in step.called]
    limits = {function.limit_key: function.policy.timeout for function in called if function.policy.timeout is not None}
    return Plan(tuple(steps), catalogue, limits, bool(limits) or any(function.is_async for function in called))


def _planned(
    index: int, part: Part, catalogue: Catalogue, before: list[PlannedStep], pipeline: Pipeline
) -> PlannedStep:
    if isinstance(part, Branching):
        from pipelines.authoring.planned_branches import planned_branching  # most pipelines do not need it

        return planned_branching(index, part, catalogue)
    if isinstance(part, Step):
        return _planned_step(index, part, catalogue, before, pipeline)
    if part.transport == TIMER:
        return _planned_timer(index, part, catalogue, before)
    return _planned_await(index, part, catalogue)


def _await_before(pipeline: Pipeline, index: int) -> Await | None:
    """Return the await directly before a step, None for other steps. Timers ask nothing."""
    before = pipeline.parts[index - 1] if index else None
    return before if isinstance(before, Await) and before.transport != TIMER else None


def _is_untyped_timer(part: Part) -> bool:
    return isinstance(part, Await) and part.transport == TIMER and part.request is None


def _gather_before(pipeline: Pipeline, index: int) -> int | None:
    """Return the index of the ``gather`` whose results a step takes, None for other steps. Timers pass them on."""
    for place in reversed(range(index)):
        before = pipeline.parts[place]
        if isinstance(before, Branching) and before.kind == GATHER:
            return place
        if not isinstance(before, Await) or before.transport != TIMER:
            break
    return None


def _planned_step(
    index: int, step: Step, catalogue: Catalogue, planned: list[PlannedStep], pipeline: Pipeline
) -> PlannedStep:
    """Return one step. ``planned`` are those before it that could be read."""
    where = f'step "{step.name}"'
    asked, gather = _await_before(pipeline, index), _gather_before(pipeline, index)
    most = 1 if asked is None else 2
    if gather is not None or pipeline.mistakes:  # then a part before this one may be missing
        most = MOST_BRANCHES
    read = signature(where, step.function, catalogue, most_values=most)
    values, returned, taken = list(read.values.values()), read.returned, read.taken
    joined = None
    gathering = next((step for step in planned if step.index == gather), None)
    if gathering is not None and gathering.branching is not None:
        from pipelines.authoring.joined_results import JoinedResults  # most pipelines do not need it

        joined = JoinedResults.of(where, read.values, gathering.name, gathering.branching.results, catalogue)
        values, taken = [], Hinted(gathering.output, many=joined.zipped, collects=True)
    answered = None
    if len(values) == 2:
        from pipelines.authoring.request_and_answer import RequestAndAnswer  # most pipelines do not need it

        before = planned[-1].cardinality if planned and planned[-1].index == index - 1 else None
        answered = RequestAndAnswer.of(values[0], values[1], before)
        conditional = asked is not None and asked.condition is not None
        both = answered.value_type(asked.name if asked else "", catalogue, where, conditional=conditional)
        taken = Hinted(both, many=answered.takes_many, collects=True)
    cardinality = Cardinality.of(takes_many=taken.many, gives_many=returned.many)
    _check_cardinality(where, step, cardinality)
    return PlannedStep(
        index=index,
        name=step.name,
        cardinality=cardinality,
        input=taken.item,
        output=returned.item,
        function=step.function,
        wants_context=read.wants_context,
        collects=taken.collects,
        answered=answered,
        joined=joined,
        policy=step.policy,
        is_async=read.is_async,
        reads_async=read.reads_async,
        items=step.items,
    )


def _planned_await(index: int, waits: Await, catalogue: Catalogue) -> PlannedStep:
    where = f'await "{waits.name}"'
    request, response = typed_all(
        lambda: typed(waits.request, catalogue, f"{where}, its request"),
        lambda: typed(waits.response, catalogue, f"{where}, its response"),
    )
    condition = None
    if waits.condition is not None:
        from pipelines.authoring.conditions import planned_condition  # most pipelines do not need it

        condition = planned_condition(index, waits.name, waits.condition, request, catalogue)
    return PlannedStep(
        index=index,
        name=waits.name,
        cardinality=Cardinality.of(takes_many=request.many, gives_many=response.many),
        input=request.item,
        output=response.item,
        waits=waits,
        condition=condition,
    )


def _planned_timer(index: int, timer: Await, catalogue: Catalogue, before: list[PlannedStep]) -> PlannedStep:
    """Return one timer. If it follows a stream, the whole stream resumes together."""
    where = f'timer "{timer.name}"'
    many = ends_in_stream(step.cardinality for step in before)
    if timer.request is not None:
        named = typed(timer.request, catalogue, f"{where}, its type")
        value_type, many = named.item, many or named.many
    elif before:
        value_type = before[-1].output
    else:
        raise DefinitionError(
            "NO_TYPE_HINTS", f"{where} is the first step, so its type is unknown; add of=, such as of=Order"
        )
    return PlannedStep(
        index=index,
        name=timer.name,
        cardinality=Cardinality.of(takes_many=many, gives_many=many),
        input=value_type,
        output=value_type,
        waits=timer,
    )


def _check_cardinality(where: str, step: Step, hinted: Cardinality) -> None:
    if step.cardinality is not None and step.cardinality is not hinted:
        raise DefinitionError(
            "CARDINALITY_MISMATCH",
            f"{where} says cardinality {step.cardinality}, but its hints say {hinted}; Iterable[T] and "
            "list[T] mean many, anything else means one",
        )


def _check_chain(steps: list[PlannedStep], catalogue: Catalogue, errors: list[DefinitionError]) -> None:
    """Append the errors between neighbours. ``steps`` does not contain the steps that could not be read."""
    for place, step in enumerate(steps):
        before = steps[place - 1] if place and steps[place - 1].index == step.index - 1 else None
        if before is not None and step.answered is not None:
            errors += [
                DefinitionError("TYPES_DO_NOT_CHAIN", f'step "{step.name}" {text}', _place(step))
                for text in step.answered.mistakes(before.name, *_sides(before), catalogue)
            ]
        elif before is not None and not catalogue.is_within(before.output.expression, step.input.expression):
            errors.append(
                DefinitionError(
                    "TYPES_DO_NOT_CHAIN",
                    f'step "{step.name}" takes {step.input.type_id}, but "{before.name}" before it gives '
                    f"{before.output.type_id}; make the two types the same or put a step between them",
                    _place(step),
                )
            )
        asks_for_many = step.waits is not None and step.cardinality is Cardinality.ONE_TO_MANY
        if place == step.index and asks_for_many and ends_in_stream(earlier.cardinality for earlier in steps[:place]):
            errors.append(
                DefinitionError(
                    "AWAIT_CARDINALITY",
                    f'await "{step.name}" sends one request per item, and each response is a list; make its request '
                    f"list[{step.input.type_id}] or its response one value",
                    _place(step),
                )
            )


def _condition_mistakes(steps: list[PlannedStep]) -> Iterator[DefinitionError]:
    """Yield an INVALID_CONDITION for each await with ``when`` whose neighbours do not fit. All steps could be read."""
    for step in steps:
        if step.condition is not None:
            from pipelines.authoring.conditions import mistakes  # most pipelines do not need it

            follows = ends_in_stream(earlier.cardinality for earlier in steps[: step.index])
            following = steps[step.index + 1] if step.index + 1 < len(steps) else None
            for text in mistakes(step, following, follows_stream=follows):
                yield DefinitionError("INVALID_CONDITION", f'question "{step.name}" {text}', _place(step))


def _sides(step: PlannedStep) -> tuple[Hinted, Hinted]:
    taken = Hinted(step.input, step.cardinality.takes_many, step.collects)
    return taken, Hinted(step.output, step.cardinality.gives_many, collects=True)


def _item_mistakes(steps: list[PlannedStep]) -> Iterator[DefinitionError]:
    """Yield an INVALID_PARALLEL for each step with ``parallel`` that does not run for the items of a stream."""
    for step in steps:
        follows = ends_in_stream(earlier.cardinality for earlier in steps[: step.index])
        takes_many, type_id = step.cardinality.takes_many, step.input.type_id
        if (
            step.items is not None
            and step.branching is None
            and (
                problem := problem_of(
                    step.items, step.function, takes_many=takes_many, follows_stream=follows, type_id=type_id
                )
            )
        ):
            yield DefinitionError("INVALID_PARALLEL", f'step "{step.name}" {problem}', _place(step))


def _search_mistakes(pipeline: Pipeline, first: PlannedStep, catalogue: Catalogue) -> list[DefinitionError]:
    from pipelines.authoring.search import mistakes  # most pipelines, and so most workers, do not need it

    types, many = catalogue.canonical_types(), first.cardinality.takes_many
    return list(mistakes(pipeline.search, pipeline.place, types, first.input.type_id, takes_many=many))


def _place(step: PlannedStep) -> str:
    if step.branching is not None:
        return step.branching.place
    return places.of_function(step.function) if step.waits is None else step.waits.place


def _may_not_be_null(step: PlannedStep) -> bool:
    """Return True if a value may be None that comes from outside or goes there: an input, a question or an answer."""
    goes_out = step.waits is not None
    return (step.input.takes_none and (goes_out or step.index == 0)) or (step.output.takes_none and goes_out)


def _null(step: PlannedStep) -> DefinitionError:
    what = "question" if step.waits is not None else "first step"
    text = "what comes from outside and goes there is never null; make the type a dataclass with an optional field"
    return DefinitionError("UNSUPPORTED_TYPE", f'{what} "{step.name}" has a type with None; {text}', _place(step))
