"""Compares the steps of two contracts, which are identified by their authored names, and the types of steps. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wire.comparison.differences import Area, Difference, Impact, Kind, changed
from wire.comparison.type_shapes import Types
from wire.comparison.types import Effect, Rule, TypeChange, compare_types
from wire.documents.branching import Branching
from wire.documents.contract import TIMER, Contract, Step, takes_many
from wire.documents.json_reader import quoted, shown
from wire.documents.json_writer import text

_STAYS = "Parked work stays on the older release"
_REASONS = {
    "removed": f"{_STAYS}, because the newer one does not have this step.",
    "moved": f"{_STAYS}, because the newer one runs the steps in another order.",
    "added": f"{_STAYS}, because on the newer one it would pass by this step.",
    "last": "The new step follows all others, so work from every earlier place can reach it.",
    "kind": f"{_STAYS}, because the newer one runs this step in another way.",
    "stream": f"{_STAYS}, because the newer one passes another number of items on.",
    "transport": "Open questions stay on the older release, because the newer one asks over another transport.",
    "deferred": "Open questions stay on the older release, because the newer one ends this step in another way.",
    "with_request": f"{_STAYS}, because it has stored the answer alone. The newer step also takes the request, as the "
    "coordinator stored it, which no answer can change.",
    "without_request": f"{_STAYS}, because it has stored the request with the answer. The newer step takes the answer "
    "alone, and all that it knows is what was answered.",
    "composition": f"{_STAYS}, because the newer one is composed of other definitions.",
}

_CLASS: Final = "Clients and parked work do not depend on the class that runs a step."
_BRANCHES: Final = "Clients and parked work do not depend on the functions of a step, but on its types."
_CONDITION: Final = "It decides whether the step asks. Open questions stay, and the types of values are compared."
_PIPELINE: Final = (
    "Calls that wait for a result stay on the older release, because the newer one calls another pipeline."
)
_RELEASE: Final = "The contract of the release that is called is not known, so its input and result are not compared."
_TAKEN = {True: "the request and the answer", False: "the answer"}


def step_differences(before: Contract, after: Contract) -> Iterator[Difference]:
    """Yield the differences of steps, except for their types."""
    old, new = steps_by_name(before.steps), steps_by_name(after.steps)
    yield from _membership(old, new)
    for name, step in new.items():
        if name in old:
            yield from _members(name, old[name], step)
    yield from _shapes(before, after)
    yield from _composition(before, after)


def steps_by_name(steps: Sequence[Step]) -> dict[str, Step]:
    """Return the steps by their names. Those without a name, or with a repeated one, are named by their place."""
    named: dict[str, Step] = {}
    for place, step in enumerate(steps, start=1):
        name = step.authored_name or f"step {place}"
        named[name if name not in named else f"{name} ({place})"] = step
    return named


def step_path(name: str) -> str:
    return f"steps[{quoted(name)}]"


def _membership(old: Mapping[str, Step], new: Mapping[str, Step]) -> Iterator[Difference]:
    places = {name: place for place, name in enumerate(old)}
    for name, step in old.items():
        if name not in new:
            yield _step(Kind.REMOVED, name, _described(step), "", "removed")
    kept = [name for name in new if name in old]
    stay = _longest_rise([places[name] for name in kept])
    last_kept = max((place for place, name in enumerate(new) if name in old), default=-1)
    for place, name in enumerate(new):
        if name not in old and (place > last_kept >= 0 or not old):
            yield _step(Kind.ADDED, name, "", _described(new[name]), "last", Impact.COMPATIBLE)
        elif name not in old:
            yield _step(Kind.ADDED, name, "", _described(new[name]), "added")
        elif places[name] not in stay:
            yield _step(Kind.MOVED, name, f"place {places[name] + 1}", f"place {place + 1}", "moved")


def _longest_rise(numbers: Sequence[int]) -> set[int]:
    """Return a longest increasing subsequence of different numbers."""
    tails: list[int] = []
    links: dict[int, int | None] = {}
    for number in numbers:
        place = bisect_left(tails, number)
        links[number] = tails[place - 1] if place else None
        tails[place : place + 1] = [number]
    moved: set[int] = set()
    current = tails[-1] if tails else None
    while current is not None:
        moved.add(current)
        current = links[current]
    return moved


def _members(name: str, old: Step, new: Step) -> Iterator[Difference]:
    path = step_path(name)
    rows = (
        (Area.STEP, "kind", old.kind, new.kind, "kind"),
        (Area.STEP, "cardinality", old.cardinality, new.cardinality, "stream"),
        (Area.STEP, "awaitTransport", old.await_transport, new.await_transport, "transport"),
    )
    for area, member, was, now, reason in rows:
        if (was or "") != (now or ""):
            yield _broken(area, f"{path}.{member}", (was or "", now or ""), reason)
    if (old.takes_request or None) is not (new.takes_request or None):
        taken = [_TAKEN[bool(step.takes_request)] for step in (old, new)]
        yield _broken(Area.STEP, f"{path}.input", taken, "with_request" if new.takes_request else "without_request")
    was_deferred, now_deferred = old.deferred_completion or {}, new.deferred_completion or {}
    for member in sorted(was_deferred.keys() | now_deferred.keys()):
        texts = [text(deferred[member]) if member in deferred else "" for deferred in (was_deferred, now_deferred)]
        if texts[0] != texts[1]:
            yield _broken(Area.POLICY, f"{path}.deferredCompletion.{shown(member)}", texts, "deferred")
    yield from _call_differences(path, old, new)


def _call_differences(path: str, old: Step, new: Step) -> Iterator[Difference]:
    """Yield the differences of what runs, for the step at `path`."""
    for member, was, now, reason, impact in (
        ("runtimeClass", old.runtime_class, new.runtime_class, _CLASS, Impact.COMPATIBLE),
        ("clientClass", old.client_class, new.client_class, _CLASS, Impact.COMPATIBLE),
        ("condition", old.condition, new.condition, _CONDITION, Impact.COMPATIBLE),
        ("callsPipeline", old.calls_pipeline, new.calls_pipeline, _PIPELINE, Impact.BREAKING_FOR_PARKED_WORK),
        ("callsRelease", old.calls_release, new.calls_release, _RELEASE, Impact.UNKNOWN),
    ):
        if (was or "") != (now or ""):
            yield changed(Area.STEP, f"{path}.{member}", (was or "", now or ""), reason, impact)
    if old.branching != new.branching:
        texts = _functions(old.branching), _functions(new.branching)
        yield changed(Area.STEP, f"{path}.branching", texts, _BRANCHES, Impact.COMPATIBLE)


def _functions(branching: Branching | None) -> str:
    """Return the branches in words, such as `choose by m:route: card (m:pay, Paid), bill (m:bill, Paid)`."""
    if branching is None:
        return ""
    by = f" by {branching.route}" if branching.route else ""
    names = (
        f"{branch.name} ({branch.runtime_class or '-'}, {branch.output_type_id or '-'})"
        for branch in branching.branches
    )
    return f"{branching.kind}{by}: {', '.join(names)}"


def _shapes(before: Contract, after: Contract) -> Iterator[Difference]:
    """Yield what clients see of cardinalities: whether the input and the result are lists."""
    if not before.steps or not after.steps:
        return
    first = after.steps[0]
    was, now = (
        ("a list" if takes_many(contract.steps[0].cardinality) else "one value") for contract in (before, after)
    )
    if was != now:
        path = f"{step_path(first.authored_name or 'step 0')}.input"
        reason = "Clients send inputs in the older form, which the newer release refuses or reads in another way."
        yield changed(Area.STEP, path, (was, now), reason, Impact.BREAKING_FOR_CALLERS)
    if before.result_shape != after.result_shape:
        last = next(reversed(steps_by_name(after.steps)))
        reason = "Clients read results in the older form."
        shapes = before.result_shape, after.result_shape
        yield changed(Area.STEP, f"{step_path(last)}.output", shapes, reason, Impact.BREAKING_FOR_CALLERS)


def _composition(before: Contract, after: Contract) -> Iterator[Difference]:
    old, new = (
        {definition.definition_id: definition.normalised() for definition in contract.composition.definitions}
        for contract in (before, after)
    )
    roots = before.composition.root_definition_id, after.composition.root_definition_id
    if roots[0] != roots[1]:
        yield _broken(Area.STEP, "composition.rootDefinitionId", roots, "composition")
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            texts = (
                definitions[name]["definitionFingerprint"] if name in definitions else "" for definitions in (old, new)
            )
            yield _broken(Area.STEP, f"composition.definitions[{quoted(name)}]", texts, "composition")


def _step(
    kind: Kind, name: str, before: str, after: str, reason: str, impact: Impact = Impact.BREAKING_FOR_PARKED_WORK
) -> Difference:
    return Difference(Area.STEP, kind, impact, step_path(name), shown(before), shown(after), _REASONS[reason])


def _broken(area: Area, path: str, values: Iterable[str], reason: str) -> Difference:
    return changed(area, path, values, _REASONS[reason], Impact.BREAKING_FOR_PARKED_WORK)


def _described(step: Step) -> str:
    types = f"{step.input_type_id or '?'} → {step.output_type_id or '?'}"
    return f"{types}, {step.cardinality}" if step.cardinality else types


class Role(StrEnum):
    """Who depends on values of a type: those who send inputs, those who read results, those who read the requests of
    awaits, or work that has stored them."""

    INPUT = "input"
    OUTPUT = "output"
    REQUEST = "request"
    BETWEEN = "between"


_INPUTS: Final = {
    Rule.REQUIRED_ADDED: "Inputs without this field were accepted, and are refused.",
    Rule.FIELD_REMOVED: "Inputs with this field were accepted, and are refused, because it is unknown.",
    Rule.BECAME_REQUIRED: "Inputs without this field were accepted, and are refused.",
    Rule.NULL_REFUSED: "Inputs with null for this field were accepted, and are refused.",
    Rule.VARIANT_REMOVED: "Inputs of this variant were accepted, and are refused.",
    Rule.VALUES: "Some inputs that were accepted are refused.",
}
_RESULTS: Final = {
    Rule.REQUIRED_ADDED: "Results no longer have this field, on which clients may rely.",
    Rule.BECAME_REQUIRED: "Results may be without this field, on which clients may rely.",
    Rule.NULL_REFUSED: "Results may have null for this field, which the older type does not allow.",
    Rule.VARIANT_REMOVED: "Results may be of a variant that clients do not know.",
    Rule.VALUES: "Results may have values that the older type does not allow.",
}
_STORED: Final = {
    Rule.REQUIRED_ADDED: "Values of parked work have no such field, so it stays on the older release.",
    Rule.FIELD_REMOVED: "Values of parked work may have this field, so it stays on the older release.",
    Rule.BECAME_REQUIRED: "Values of parked work may be without this field, so it stays on the older release.",
    Rule.NULL_REFUSED: "Values of parked work may have null for this field, so it stays on the older release.",
    Rule.VARIANT_REMOVED: "Values of parked work may be of this variant, so it stays on the older release.",
    Rule.VALUES: "The newer type refuses some values of parked work, so it stays on the older release.",
}
_READ: Final = "Questions may have such values. People, clients and receivers of webhooks may not know them."
_REQUESTS: Final = dict.fromkeys(_RESULTS, _READ)
_BREAKING: Final = {
    Role.INPUT: (Impact.BREAKING_FOR_CALLERS, _INPUTS),
    Role.OUTPUT: (Impact.BREAKING_FOR_CALLERS, _RESULTS),
    Role.REQUEST: (Impact.BREAKING_FOR_CALLERS, _REQUESTS),
    Role.BETWEEN: (Impact.BREAKING_FOR_PARKED_WORK, _STORED),
}
_WIDENED: Final = {
    Role.INPUT: "Inputs that were accepted are still accepted.",
    Role.OUTPUT: "Results still have the older type.",
    Role.REQUEST: "Questions still have the older type.",
    Role.BETWEEN: "The newer type accepts the values of parked work.",
}
_UNDECIDED: Final = {
    Rule.OPAQUE: "The contract has no definition of a type, so its values are not known.",
    Rule.UNCHECKED: "The coordinator does not check this constraint, and the pipeline may.",
    Rule.CODE: "The code of the pipeline decides which values are accepted, and it differs.",
    Rule.TOO_LARGE: "The type is too large to be compared further.",
}
_NO_EXAMPLE: Final = "No value is known that only one of the types accepts."
_MIRRORED: Final = {Kind.ADDED: Kind.REMOVED, Kind.REMOVED: Kind.ADDED}


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    role: Role
    before: str
    after: str


def type_differences(before: Contract, after: Contract) -> Iterator[Difference]:
    """Yield the differences between the types of steps, field by field.

    Between the input of the first step and the output of the last one, only steps of both contracts are compared. A
    pair of types is compared once for each role. The older type of a result must accept what the newer one allows,
    except for new fields, because readers ignore them.
    """
    types = Types(before.canonical_types), Types(after.canonical_types)
    compared: set[tuple[Role, str, str]] = set()
    for place in _places(before, after):
        key = (place.role, place.before, place.after)
        if key not in compared:
            compared.add(key)
            yield from _compared(place, *types)


def stored_differences(
    path: str, stored: tuple[Contract, str | None], taken: tuple[Contract, str | None]
) -> Iterator[Difference]:
    """Yield the differences from the type of values that parked work has stored to the type that a step takes.

    Types are named by their contract and id. A type without a definition is a difference, even if both have its name.
    """
    (before, stored_id), (after, taken_id) = stored, taken
    place = _Place(path, Role.BETWEEN, stored_id or "", taken_id or "")
    return _compared(place, Types(before.canonical_types), Types(after.canonical_types), defined=True)


def _places(before: Contract, after: Contract) -> Iterator[_Place]:
    if not before.steps or not after.steps:
        return
    old, new = steps_by_name(before.steps), steps_by_name(after.steps)
    first, last = next(iter(new)), next(reversed(new))
    was_first, was_last = next(iter(old)), next(reversed(old))
    yield _Place(
        f"{step_path(first)}.input", Role.INPUT, old[was_first].input_type_id or "", new[first].input_type_id or ""
    )
    yield _Place(
        f"{step_path(last)}.output", Role.OUTPUT, old[was_last].output_type_id or "", new[last].output_type_id or ""
    )
    for name, step in new.items():
        if name in old and _asks(old[name]) and _asks(step):
            ids = old[name].input_type_id or "", step.input_type_id or ""
            yield _Place(f"{step_path(name)}.request", Role.REQUEST, *ids)
        same_form = name in old and old[name].takes_request == step.takes_request  # else `_members` has a difference
        if same_form and name not in (first, was_first):
            ids = old[name].input_type_id or "", step.input_type_id or ""
            yield _Place(f"{step_path(name)}.input", Role.BETWEEN, *ids)
        if name in old and name not in (last, was_last):
            ids = old[name].output_type_id or "", step.output_type_id or ""
            yield _Place(f"{step_path(name)}.output", Role.BETWEEN, *ids)


def _asks(step: Step) -> bool:
    """Return True for an await whose requests are read outside: by those who answer, or by a webhook's receiver."""
    return (step.kind == "await" and step.await_transport != TIMER) or step.deferred_completion is not None


def _compared(place: _Place, before: Types, after: Types, *, defined: bool = False) -> Iterator[Difference]:
    mirrored = place.role in (Role.OUTPUT, Role.REQUEST)
    changes = (
        compare_types(after, place.after, before, place.before)
        if mirrored
        else compare_types(before, place.before, after, place.after, defined=defined)
    )
    found = False
    for change in changes:
        found = True
        yield _difference(place, change, mirrored)
    if not found and place.before != place.after:
        reason = "The type has another name, and accepts the same values."
        texts = shown(place.before), shown(place.after)
        yield Difference(Area.TYPE, Kind.CHANGED, Impact.COMPATIBLE, place.path, *texts, reason)


def _difference(place: _Place, change: TypeChange, mirrored: bool) -> Difference:
    impact, reason = _judged(place.role, change)
    kind = _kind(change)
    texts = change.before, change.after
    if mirrored:
        kind, texts = _MIRRORED.get(kind, kind), (change.after, change.before)
    return Difference(Area.TYPE, kind, impact, place.path + change.path, *texts, reason)


def _judged(role: Role, change: TypeChange) -> tuple[Impact, str]:
    if role in (Role.OUTPUT, Role.REQUEST) and change.rule is Rule.FIELD_REMOVED:
        return Impact.COMPATIBLE, "Values have a new field, which their readers ignore."
    if change.effect is Effect.WIDENED:
        return Impact.COMPATIBLE, _WIDENED[role]
    if change.effect is Effect.NARROWED:
        impact, reasons = _BREAKING[role]
        return impact, reasons[change.rule]
    return Impact.UNKNOWN, _UNDECIDED.get(change.rule, _NO_EXAMPLE)


def _kind(change: TypeChange) -> Kind:
    if change.rule in (Rule.REQUIRED_ADDED, Rule.OPTIONAL_ADDED, Rule.VARIANT_ADDED):
        return Kind.ADDED
    return Kind.REMOVED if change.rule in (Rule.FIELD_REMOVED, Rule.VARIANT_REMOVED) else Kind.CHANGED
