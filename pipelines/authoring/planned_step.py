"""One checked step of a pipeline, as the compiler and the runner read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.items import ItemRules
from pipelines.authoring.values import Hinted, ValueType
from pipelines.authoring.waits import Await
from pipelines.step_policy import NO_POLICY, StepPolicy
from wire.documents.branching import CHOOSE, GATHER

if TYPE_CHECKING:
    from pipelines.authoring.joined_results import JoinedResults
    from pipelines.authoring.request_and_answer import RequestAndAnswer


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
            name: Hinted(each.output, each.cardinality.gives_many, collects=True)
            for name, each in self.branches.items()
        }

    def with_functions(self, changed: Callable[[PlannedStep], PlannedStep]) -> PlannedBranching:
        branches = {name: changed(each) for name, each in self.branches.items()}
        return PlannedBranching(branches, None if self.route is None else changed(self.route), self.place)
