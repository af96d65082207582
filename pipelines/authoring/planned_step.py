"""One checked step of a pipeline, as the compiler and the runner read it, and what an author's function takes."""

from __future__ import annotations

import inspect
import typing
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pipelines.authoring import places
from pipelines.authoring.advice import shown
from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.catalogue import Catalogue, plain
from pipelines.authoring.definition import StepContext
from pipelines.authoring.items import ItemRules
from pipelines.authoring.values import Hinted, ValueType
from pipelines.authoring.waits import Await
from pipelines.errors import DefinitionError, collected, raise_all
from pipelines.step_policy import NO_POLICY, StepPolicy
from wire.documents.branching import CHOOSE, GATHER

if TYPE_CHECKING:
    from pipelines.authoring.joined_results import JoinedResults
    from pipelines.authoring.request_and_answer import RequestAndAnswer


_LISTS: Final = (list, abc.Sequence)
_STREAMS: Final = (*_LISTS, abc.Iterable, abc.Iterator, abc.Generator, abc.Collection)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One checked step or await.

    ``function`` is None for an await; ``waits`` is None for a step. ``wants_context``: the function takes a
    ``StepContext``. ``collects``: the function takes a list of values instead of an iterator. ``answered``: the step
    follows an await and takes its request too, so ``input`` is the type of both together.
    ``joined``: the step takes the results of the branches before it as one value.
    ``is_async``: the function is a coroutine function or an async generator function. ``reads_async``: it takes an
    async iterator. ``branching`` has the functions
    of a step with branches, whose ``function`` is None. ``branch`` says which one of them this is.
    ``condition`` is the function of an await that decides whether it asks.
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
    joined: JoinedResults | None = None
    branching: PlannedBranching | None = None
    branch: BranchPlace | None = None
    condition: PlannedStep | None = None

    @property
    def called(self) -> Sequence[PlannedStep]:
        """The functions that a worker calls, each as a step: this step, its branches, or its condition."""
        if self.branching is not None:
            return self.branching.functions
        if self.condition is not None:
            return [self.condition]
        return [] if self.function is None else [self]

    @property
    def limit_key(self) -> LimitKey:
        """Where `Limits` have the time limit of the function."""
        return self.index if self.branch is None else (self.index, self.branch.name)


LimitKey = int | tuple[int, str]
"""A step with its index, or a branch with the index of its step and its name."""


@dataclass(frozen=True, slots=True)
class BranchPlace:
    """Which branch of a step a function is: its name, and its index among ``number`` calls for one value."""

    name: str
    index: int = 0
    number: int = 1

    def call_index(self, item_index: int | None) -> int:
        """Return the index of a call among the calls for all items."""
        return (item_index or 0) * self.number + self.index


@dataclass(frozen=True, slots=True)
class PlannedBranching:
    """The branches of a step by name, each as a separate step, and the route that chooses one of them.

    The results of all branches are joined if there is no route. ``place`` is the author's file and line.
    """

    branches: Mapping[str, PlannedStep]
    route: PlannedStep | None
    place: str

    @property
    def kind(self) -> str:
        return GATHER if self.route is None else CHOOSE

    @property
    def functions(self) -> list[PlannedStep]:
        """All functions of the author, each as a step."""
        return [*self.branches.values(), *([self.route] if self.route is not None else [])]

    @property
    def results(self) -> dict[str, Hinted]:
        """The type of what each branch gives."""
        return {
            name: Hinted(branch.output, branch.cardinality.gives_many, collects=True)
            for name, branch in self.branches.items()
        }

    def with_functions(self, changed: Callable[[PlannedStep], PlannedStep]) -> PlannedBranching:
        branches = {name: changed(branch) for name, branch in self.branches.items()}
        return PlannedBranching(branches, None if self.route is None else changed(self.route), self.place)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and returns. ``values`` has the types of its parameters by name, without the context."""

    values: dict[str, Hinted]
    returned: Hinted
    wants_context: bool
    is_async: bool
    reads_async: bool

    @property
    def taken(self) -> Hinted:
        """The type of the first parameter."""
        return next(iter(self.values.values()))


def signature(where: str, function: Callable[..., Any], catalogue: Catalogue, *, most_values: int = 1) -> Signature:
    """Return the signature of a function that takes at most ``most_values`` and perhaps a context.

    Raises one ``DefinitionError`` for all mistakes: STEP_NOT_IMPORTABLE, INVALID_SIGNATURE, UNRESOLVED_HINT,
    NO_TYPE_HINTS, UNSUPPORTED_TYPE, TYPE_NOT_IMPORTABLE, ASYNC_STEP, CARDINALITY_MISMATCH.
    """
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    _check_importable(where, function)
    errors: list[DefinitionError] = []
    reads_async = False
    with collected(errors):
        parameters = _parameters(where, function, most_values)
        hints = _hints(where, function)
        if is_async:
            from pipelines.authoring.async_steps import without_async  # most pipelines do not need it

            hints, reads_async = without_async(where, function, hints, parameters[0])
        names, wants_context = _values(where, hints, parameters, most_values)
        *values, returned = typed_all(
            *(partial(_typed_hint, where, hints, name, catalogue) for name in names),
            partial(_typed_hint, where, hints, "return", catalogue),
        )
    raise_all(errors)
    if inspect.isgeneratorfunction(function) and not returned.many:
        raise DefinitionError(
            "CARDINALITY_MISMATCH",
            f"{where} yields its results, but its return hint is one value; use Iterator[T], such as Iterator[Order]",
        )
    return Signature(dict(zip(names, values, strict=True)), returned, wants_context, is_async, reads_async)


def _typed_hint(where: str, hints: dict[str, Any], name: str, catalogue: Catalogue) -> Hinted:
    what = "its return value" if name == "return" else f"parameter {name!r}"
    return typed(_hint(where, hints, name), catalogue, f"{where}, {what}")


def typed(hint: Any, catalogue: Catalogue, where: str) -> Hinted:
    """Return what a hint says. Raises ``DefinitionError`` UNSUPPORTED_TYPE, TYPE_NOT_IMPORTABLE."""
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


def typed_all(*reads: Callable[[], Hinted]) -> list[Hinted]:
    """Return the results of all, or raise the errors of all."""
    errors: list[DefinitionError] = []
    values: list[Hinted] = []
    for read in reads:
        with collected(errors):
            values.append(read())
    raise_all(errors)
    return values


def _check_importable(where: str, function: Callable[..., Any]) -> None:
    module, qualname = function.__module__, getattr(function, "__qualname__", "?")
    if module == "__main__":
        problem, advice = ("is defined in __main__", "move it to a module that can be imported and build MODULE:NAME")
    elif "<lambda>" in qualname:
        problem, advice = "is a lambda", "define it with def at module level"
    elif "<locals>" in qualname:
        problem, advice = (f"is {qualname}, defined inside another function", "move it to module level")
    elif places.importable(module, qualname) is not function:
        problem = f"is not the object at {module}.{qualname}"
        advice = "let @pipeline.step be the outermost decorator and use the function's name only once"
    else:
        return
    raise DefinitionError("STEP_NOT_IMPORTABLE", f"{where} {problem}, so a worker cannot import it; {advice}")


def _parameters(where: str, function: Callable[..., Any], most_values: int) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if parameters and parameters[0].name in ("self", "cls") and "." in function.__qualname__:
        raise DefinitionError(
            "INVALID_SIGNATURE",
            f"{where} is a method of {function.__qualname__.rpartition('.')[0]}, and a worker has no object to call it "
            f"on; write a function at module level, which may make the object: def {function.__name__}(value: T) -> U",
        )
    if not 1 <= len(parameters) <= max(3, most_values + 1) or any(
        parameter.kind not in positional for parameter in parameters
    ):
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


def _values(where: str, hints: dict[str, Any], parameters: list[str], most: int) -> tuple[list[str], bool]:
    """Return the parameters that take values, and whether a context follows them."""
    wants_context = len(parameters) > 1 and hints.get(parameters[-1]) is StepContext
    values = parameters[:-1] if wants_context else parameters
    if len(values) <= most:
        return values, wants_context
    raise DefinitionError(
        "INVALID_SIGNATURE",
        f"{where} has a second parameter {values[1]!r}; only context: StepContext may follow the input, and directly "
        "after a question the answer may follow its request; to pass several values, write a dataclass with a field "
        "for each",
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
