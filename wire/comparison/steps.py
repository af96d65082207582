"""Compares the steps of two contracts. A step is identified by its authored name. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from wire.comparison.differences import Area, Difference, Impact, Kind, changed
from wire.documents.cardinality import takes_many
from wire.documents.contract import Contract, Step
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
    "composition": f"{_STAYS}, because the newer one is composed of other definitions.",
}


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
    for place, step in enumerate(steps):
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
    found: set[int] = set()
    current = tails[-1] if tails else None
    while current is not None:
        found.add(current)
        current = links[current]
    return found


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
    was_deferred, now_deferred = old.deferred_completion or {}, new.deferred_completion or {}
    for member in sorted(was_deferred.keys() | now_deferred.keys()):
        texts = [text(each[member]) if member in each else "" for each in (was_deferred, now_deferred)]
        if texts[0] != texts[1]:
            yield _broken(Area.POLICY, f"{path}.deferredCompletion.{shown(member)}", texts, "deferred")
    for member, was, now in (
        ("runtimeClass", old.runtime_class, new.runtime_class),
        ("clientClass", old.client_class, new.client_class),
    ):
        if (was or "") != (now or ""):
            reason = "Clients and parked work do not depend on the class that runs a step."
            yield changed(Area.STEP, f"{path}.{member}", (was or "", now or ""), reason, Impact.COMPATIBLE)


def _shapes(before: Contract, after: Contract) -> Iterator[Difference]:
    """Yield what clients see of cardinalities: whether the input and the result are lists."""
    if not before.steps or not after.steps:
        return
    first = after.steps[0]
    was, now = (("a list" if takes_many(each.steps[0].cardinality) else "one value") for each in (before, after))
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
        {each.definition_id: each.normalised() for each in contract.composition.definitions}
        for contract in (before, after)
    )
    roots = before.composition.root_definition_id, after.composition.root_definition_id
    if roots[0] != roots[1]:
        yield _broken(Area.STEP, "composition.rootDefinitionId", roots, "composition")
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            texts = (each[name]["definitionFingerprint"] if name in each else "" for each in (old, new))
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
