"""Branches as an author defines them: functions that take the same value. All of them run, or one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Unpack

from pipelines import step_policy
from pipelines.authoring.items import ItemRules, rules
from pipelines.authoring.misuse import no_function
from pipelines.authoring.places import humanised
from pipelines.errors import DefinitionError
from pipelines.step_policy import NO_POLICY, StepOptions, StepPolicy
from wire.documents.branching import CHOOSE, GATHER, LONGEST_BRANCH, MOST_BRANCHES

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Branch:
    """A function of the author with its policy. ``options`` are those that the author gave."""

    function: Function
    options: Mapping[str, Any]
    policy: StepPolicy = NO_POLICY


def branch(function: Function, /, **policy: Unpack[StepOptions]) -> Branch:
    """Return a branch with its policy, for ``Pipeline.gather`` and ``Pipeline.choose``.

    ``StepOptions`` has the options. They count for each call of this branch alone.
    """
    return Branch(function, policy)


@dataclass(frozen=True, slots=True)
class Branching:
    """A step with several functions. It runs all ``branches``, or the one that ``route`` chooses.

    ``items`` says how many calls run at a time. ``declares_parallel``: the author gave the number.
    """

    name: str
    kind: Literal["gather", "choose"]
    branches: Mapping[str, Branch]
    route: Function | None
    items: ItemRules
    declares_parallel: bool
    place: str = field(default="", compare=False)

    def declared(self) -> dict[str, Any]:
        """Return the declaration, as `wire.documents.step_policy` describes it. It is empty without policies."""
        policies = {
            name: branch.policy.declared() for name, branch in self.branches.items() if branch.policy is not NO_POLICY
        }
        parallel = self.items.declared() if self.declares_parallel else {}
        return {**parallel, **({"branches": policies} if policies else {})}


def gathered(name: str | None, functions: tuple[Function | Branch, ...], parallel: int | None, place: str) -> Branching:
    """Return the step of ``Pipeline.gather``.

    Raises ``DefinitionError``: INVALID_BRANCHES, NOT_A_FUNCTION, INVALID_STEP_POLICY, INVALID_PARALLEL.
    """
    named: dict[str, Function | Branch] = {}
    for branch in functions:
        branch_name = _name(branch)
        if branch_name in named:
            raise DefinitionError(
                "INVALID_BRANCHES", f"gather has two branches with the name {branch_name!r}; rename one"
            )
        named[branch_name] = branch
    authored = humanised(" and ".join(named)) if name is None else name
    items = rules(authored, parallel, None) or ItemRules(max(len(named), 1), collects=False)
    return Branching(authored, GATHER, _checked(authored, named), None, items, parallel is not None, place)


def chosen(route: Function, functions: Mapping[str, Function | Branch], place: str) -> Branching:
    """Return the step of ``Pipeline.choose``.

    Raises ``DefinitionError``: INVALID_BRANCHES, NOT_A_FUNCTION, INVALID_STEP_POLICY.
    """
    authored = humanised(_name(Branch(route, {})))
    if isinstance(route, Branch):
        raise DefinitionError("INVALID_BRANCHES", f'step "{authored}": the route takes no options; give the function')
    return Branching(authored, CHOOSE, _checked(authored, functions), route, ItemRules(1, collects=False), False, place)


def _checked(step: str, functions: Mapping[str, Function | Branch]) -> dict[str, Branch]:
    if not 2 <= len(functions) <= MOST_BRANCHES:
        text = f'step "{step}" has {len(functions)} branches; give 2 to {MOST_BRANCHES} functions'
        raise DefinitionError("INVALID_BRANCHES", text)
    checked: dict[str, Branch] = {}
    for name, branch in functions.items():
        _name(branch)
        if not 0 < len(name) <= LONGEST_BRANCH or not name.isprintable():
            text = f'step "{step}" has the branch {name!r}; use 1 to {LONGEST_BRANCH} printable characters'
            raise DefinitionError("INVALID_BRANCHES", text)
        authored = branch if isinstance(branch, Branch) else Branch(branch, {})
        policy = step_policy.checked(f"{step}, branch {name}", authored.options)
        checked[name] = Branch(authored.function, authored.options, policy)
    return checked


def _name(branch: Function | Branch) -> str:
    function = branch.function if isinstance(branch, Branch) else branch
    name: Final = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str) or isinstance(function, type):
        raise DefinitionError("NOT_A_FUNCTION", no_function(function))
    return name
