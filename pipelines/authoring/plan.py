"""Reads and checks the steps of a pipeline and their types, for the compiler and the runner."""

from __future__ import annotations

import inspect
import typing
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from pipelines.authoring import places
from pipelines.authoring.advice import shown
from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.catalogue import Catalogue, importable, plain
from pipelines.authoring.definition import Await, Pipeline, Step, StepContext
from pipelines.authoring.items import ItemRules, problem_of
from pipelines.authoring.values import Hinted, ValueType
from pipelines.errors import DefinitionError, collected, placed, raise_all
from pipelines.step_policy import NO_POLICY, StepPolicy
from wire.documents.contract import TIMER, ends_in_stream

_LISTS: Final = (list, abc.Sequence)
_STREAMS: Final = (*_LISTS, abc.Iterable, abc.Iterator, abc.Generator, abc.Collection)


if TYPE_CHECKING:
    from pipelines.authoring.request_and_answer import RequestAndAnswer


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One checked step or await.

    ``function`` is None for an await; ``waits`` is None for a step. ``wants_context``: the function takes a
    ``StepContext``. ``collects``: the function takes a list of values instead of an iterator. ``answered``: the step
    follows an await and takes its request too, so ``input`` is the type of both together.
    ``is_async``: the function is a coroutine function or an async generator function. ``reads_async``: it takes an
    async iterator.
    """

    index: int
    name: str
    cardinality: Cardinality
    input: ValueType
    output: ValueType
    function: Callable[..., Any] | None = None
    wants_context: bool = False
    collects: bool = False
    waits: Await | None = None
    answered: RequestAndAnswer | None = None
    policy: StepPolicy = NO_POLICY
    is_async: bool = False
    reads_async: bool = False
    items: ItemRules | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """``limits`` has the time limits of steps in seconds, by index. ``is_supervised``: a limit or an async step."""

    steps: tuple[PlannedStep, ...]
    catalogue: Catalogue
    limits: Mapping[int, float]
    is_supervised: bool


def plan(pipeline: Pipeline, *, constraints: bool = True) -> Plan:
    """Read and check all steps. The result is cached until the pipeline gets another step.

    ``constraints`` is that of ``Catalogue``.

    Raises one ``DefinitionError`` for all mistakes, including those found while the pipeline's module was loaded:
    EMPTY_PIPELINE, NO_TYPE_HINTS, UNRESOLVED_HINT, UNSUPPORTED_TYPE, TYPE_NOT_IMPORTABLE, INVALID_SIGNATURE,
    ASYNC_STEP, CARDINALITY_MISMATCH, STEP_NOT_IMPORTABLE, AWAIT_CARDINALITY, TYPES_DO_NOT_CHAIN, INVALID_SEARCH,
    INVALID_PARALLEL.
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
    if pipeline.search and not errors:
        errors += _search_mistakes(pipeline, steps[0], catalogue)
    if pipeline.concurrency is not None and not errors:
        from pipelines.authoring.concurrency import mistakes

        types, many = catalogue.canonical_types(), steps[0].cardinality.takes_many
        errors += mistakes(pipeline.concurrency, pipeline.place, types, steps[0].input.type_id, takes_many=many)
    raise_all([*errors, *catalogue.doubts] if errors else ())
    limits = {step.index: step.policy.timeout for step in steps if step.policy.timeout is not None}
    return Plan(tuple(steps), catalogue, limits, bool(limits) or any(step.is_async for step in steps))


def _planned(
    index: int, part: Step | Await, catalogue: Catalogue, before: list[PlannedStep], pipeline: Pipeline
) -> PlannedStep:
    if isinstance(part, Step):
        known = before[-1].cardinality if before and before[-1].index == index - 1 else None
        return _planned_step(index, part, catalogue, _await_before(pipeline, index), known)
    if part.transport == TIMER:
        return _planned_timer(index, part, catalogue, before)
    return _planned_await(index, part, catalogue)


def _await_before(pipeline: Pipeline, index: int) -> str | None:
    """Return the name of the await directly before a step, None if there is none.

    A pipeline with mistakes does not have all of its parts. Then the name is empty, because the await may be missing.
    """
    before = pipeline.parts[index - 1] if index else None
    if isinstance(before, Await) and before.transport != TIMER:
        return before.name
    return "" if pipeline.mistakes else None


def _is_untyped_timer(part: Step | Await) -> bool:
    return isinstance(part, Await) and part.transport == TIMER and part.request is None


def _planned_step(
    index: int, step: Step, catalogue: Catalogue, asked: str | None, before: Cardinality | None
) -> PlannedStep:
    """Return one step. ``asked`` is the name of the await directly before it, and ``before`` its cardinality."""
    where = f'step "{step.name}"'
    function = step.function
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    _check_importable(where, function)
    errors: list[DefinitionError] = []
    reads_async = False
    with collected(errors):
        parameters = _parameters(where, function)
        hints = _hints(where, function)
        if is_async:
            from pipelines.authoring.async_steps import without_async  # most pipelines do not need it

            hints, reads_async = without_async(where, function, hints, parameters[0])
        names, wants_context = _values(where, hints, parameters, asked)
        *values, returned = _all(
            *(partial(_typed_hint, where, hints, name, catalogue) for name in names),
            partial(_typed_hint, where, hints, "return", catalogue),
        )
    raise_all(errors)
    answered, taken = None, values[0]
    if len(values) == 2:
        from pipelines.authoring.request_and_answer import RequestAndAnswer  # most pipelines do not need it

        answered = RequestAndAnswer.of(values[0], values[1], before)
        both = answered.value_type(asked or "", catalogue, where)
        taken = Hinted(both, many=answered.takes_many, collects=True)
    cardinality = Cardinality.of(takes_many=taken.many, gives_many=returned.many)
    _check_cardinality(where, step, cardinality)
    return PlannedStep(
        index=index,
        name=step.name,
        cardinality=cardinality,
        input=taken.item,
        output=returned.item,
        function=function,
        wants_context=wants_context,
        collects=taken.collects,
        answered=answered,
        policy=step.policy,
        is_async=is_async,
        reads_async=reads_async,
        items=step.items,
    )


def _typed_hint(where: str, hints: dict[str, Any], name: str, catalogue: Catalogue) -> Hinted:
    what = "its return value" if name == "return" else f"parameter {name!r}"
    return _typed(_hint(where, hints, name), catalogue, f"{where}, {what}")


def _typed(hint: Any, catalogue: Catalogue, where: str) -> Hinted:
    bare = plain(hint)
    if bare in _STREAMS:
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where} is {shown(bare)} without an item type; write {shown(bare)}[T], such as list[str]",
        )
    if typing.get_origin(bare) not in _STREAMS:
        return Hinted(ValueType(hint, catalogue, where), many=False, collects=False)
    item = typing.get_args(bare)[0]
    if typing.get_origin(plain(item)) in _STREAMS:
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where} is {shown(bare)}; make the item a dataclass with one field: values: {shown(item)}",
        )
    collects = typing.get_origin(bare) in (*_LISTS, abc.Collection)
    return Hinted(ValueType(item, catalogue, where), many=True, collects=collects)


def _all(*reads: Callable[[], Hinted]) -> list[Hinted]:
    """Return the results of all, or raise the errors of all."""
    errors: list[DefinitionError] = []
    found: list[Hinted] = []
    for read in reads:
        with collected(errors):
            found.append(read())
    raise_all(errors)
    return found


def _planned_await(index: int, waits: Await, catalogue: Catalogue) -> PlannedStep:
    where = f'await "{waits.name}"'
    request, response = _all(
        lambda: _typed(waits.request, catalogue, f"{where}, its request"),
        lambda: _typed(waits.response, catalogue, f"{where}, its response"),
    )
    return PlannedStep(
        index=index,
        name=waits.name,
        cardinality=Cardinality.of(takes_many=request.many, gives_many=response.many),
        input=request.item,
        output=response.item,
        waits=waits,
    )


def _planned_timer(index: int, timer: Await, catalogue: Catalogue, before: list[PlannedStep]) -> PlannedStep:
    """Return one timer. If it follows a stream, the whole stream resumes together."""
    where = f'timer "{timer.name}"'
    many = ends_in_stream(step.cardinality for step in before)
    if timer.request is not None:
        named = _typed(timer.request, catalogue, f"{where}, its type")
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


def _check_importable(where: str, function: Callable[..., Any]) -> None:
    module, qualname = function.__module__, getattr(function, "__qualname__", "?")
    if module == "__main__":
        problem, advice = ("is defined in __main__", "move it to a module that can be imported and build MODULE:NAME")
    elif "<lambda>" in qualname:
        problem, advice = "is a lambda", "define it with def at module level"
    elif "<locals>" in qualname:
        problem, advice = (f"is {qualname}, defined inside another function", "move it to module level")
    elif importable(module, qualname) is not function:
        problem = f"is not the object at {module}.{qualname}"
        advice = "let @pipeline.step be the outermost decorator and use the function's name only once"
    else:
        return
    raise DefinitionError("STEP_NOT_IMPORTABLE", f"{where} {problem}, so a worker cannot import it; {advice}")


def _parameters(where: str, function: Callable[..., Any]) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if parameters and parameters[0].name in ("self", "cls") and "." in function.__qualname__:
        raise DefinitionError(
            "INVALID_SIGNATURE",
            f"{where} is a method of {function.__qualname__.rpartition('.')[0]}, and a worker has no object to call it "
            f"on; write a function at module level, which may make the object: def {function.__name__}(value: T) -> U",
        )
    if not 1 <= len(parameters) <= 3 or any(parameter.kind not in positional for parameter in parameters):
        raise DefinitionError(
            "INVALID_SIGNATURE",
            f"{where} has the signature {inspect.signature(function)}; a step takes one input and, if it needs it, "
            "context: StepContext; to pass several values, write a dataclass with a field for each",
        )
    return [parameter.name for parameter in parameters]


def _hints(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise DefinitionError(
            "UNRESOLVED_HINT",
            f"{where}: its hints cannot be read: {error}; import the named types at the top of "
            f"{function.__module__}, outside of TYPE_CHECKING, or correct their names",
        ) from error


def _values(where: str, hints: dict[str, Any], parameters: list[str], asked: str | None) -> tuple[list[str], bool]:
    """Return the parameters that take values, and whether a context follows them."""
    wants_context = len(parameters) > 1 and hints.get(parameters[-1]) is StepContext
    values = parameters[:-1] if wants_context else parameters
    if len(values) == 1 or (len(values) == 2 and asked is not None):
        return values, wants_context
    raise DefinitionError(
        "INVALID_SIGNATURE",
        f"{where} has a second parameter {values[1]!r}; only context: StepContext may follow the input, and directly "
        "after an await the answer may follow its request; to pass several values, write a dataclass with a field for "
        "each",
    )


def _hint(where: str, hints: dict[str, Any], name: str) -> Any:
    if name not in hints:
        returns = name == "return"
        missing = "its return value" if returns else f"parameter {name!r}"
        remedy = (
            "-> and the type of the result, such as -> Receipt" if returns else f"{name}: and its type, such as Order"
        )
        text = f"{where} has no type hint for {missing}; write {remedy}; the contract is made from the hints"
        raise DefinitionError("NO_TYPE_HINTS", text)
    return hints[name]


def _check_cardinality(where: str, step: Step, hinted: Cardinality) -> None:
    if step.cardinality is not None and step.cardinality is not hinted:
        raise DefinitionError(
            "CARDINALITY_MISMATCH",
            f"{where} says cardinality {step.cardinality}, but its hints say {hinted}; Iterable[T] and "
            "list[T] mean many, anything else means one",
        )
    if inspect.isgeneratorfunction(step.function) and not hinted.gives_many:
        raise DefinitionError(
            "CARDINALITY_MISMATCH",
            f"{where} yields its results, but its return hint is one value; use Iterator[T], such as Iterator[Order]",
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
        if place == step.index and asks_for_many and ends_in_stream(each.cardinality for each in steps[:place]):
            errors.append(
                DefinitionError(
                    "AWAIT_CARDINALITY",
                    f'await "{step.name}" sends one request per item, and each response is a list; make its request '
                    f"list[{step.input.type_id}] or its response one value",
                    _place(step),
                )
            )


def _sides(step: PlannedStep) -> tuple[Hinted, Hinted]:
    taken = Hinted(step.input, step.cardinality.takes_many, step.collects)
    return taken, Hinted(step.output, step.cardinality.gives_many, collects=True)


def _item_mistakes(steps: list[PlannedStep]) -> Iterator[DefinitionError]:
    """Yield an INVALID_PARALLEL for each step with ``parallel`` that does not run for the items of a stream."""
    for step in steps:
        follows = ends_in_stream(each.cardinality for each in steps[: step.index])
        takes_many, type_id = step.cardinality.takes_many, step.input.type_id
        if step.items is not None and (
            problem := problem_of(
                step.items, step.function, takes_many=takes_many, follows_stream=follows, type_id=type_id
            )
        ):
            yield DefinitionError("INVALID_PARALLEL", f'step "{step.name}" {problem}', _place(step))


def _search_mistakes(pipeline: Pipeline, first: PlannedStep, catalogue: Catalogue) -> list[DefinitionError]:
    from pipelines.authoring.search import mistakes  # most pipelines, and so most workers, do not need it

    types, many = catalogue.canonical_types(), first.cardinality.takes_many
    return list(mistakes(pipeline.search, pipeline.place, types, first.input.type_id, takes_many=many))


def _place(step: PlannedStep) -> str:
    return places.of_function(step.function) if step.waits is None else step.waits.place


def _may_not_be_null(step: PlannedStep) -> bool:
    """Return True if a value may be None that comes from outside or goes there: an input, a question or an answer."""
    goes_out = step.waits is not None
    return (step.input.takes_none and (goes_out or step.index == 0)) or (step.output.takes_none and goes_out)


def _null(step: PlannedStep) -> DefinitionError:
    what = "await" if step.waits is not None else "first step"
    text = "what comes from outside and goes there is never null; make the type a dataclass with an optional field"
    return DefinitionError("UNSUPPORTED_TYPE", f'{what} "{step.name}" has a type with None; {text}', _place(step))
