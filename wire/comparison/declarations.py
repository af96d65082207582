"""Compares what two releases declare besides their contracts, and judges each member of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from wire.comparison.differences import Area, Difference, Impact, ReleaseFacts, changed
from wire.documents.concurrency import REFUSE
from wire.documents.declarations import Declarations, flat

Judgement = tuple[Area, Impact, str]
"""What differs, who is affected, and one sentence that explains it."""
_NOT_KNOWN: Final = "The declarations of one of the releases are not known."
_NEWER: Final = "A newer version declared it, and this one does not know what it means."
_STEPS: Final = "It applies to executions of the newer release only, and is no part of the contract."
_NEEDED: Final = "Workers of the newer release need it. Clients and parked work do not depend on it."
_NOT_NEEDED: Final = "Workers of the newer release do not need it. Clients and parked work do not depend on it."
_LIMIT: Final = "It decides when executions of the newer release start. Clients and parked work do not depend on it."
_KEY: Final = "Executions of the releases have different keys, so those of one do not count for the limit of the other."
_REFUSES: Final = "The newer release refuses submissions beyond the limit. Whether clients repeat them is not known."
_REPLACES: Final = (
    "Executions that wait are replaced by newer ones with the key. Whether clients expect it is not known."
)
_FOUND: Final = "Executions of the newer release can be found by it. Clients and parked work do not depend on it."
_LOST: Final = "A search by this name finds executions of the newer release no more, or by another value."
_SHOWN: Final = "People see it when they answer. Values, clients and parked work do not depend on it."


def declaration_differences(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    """Yield a difference for each declared value that is not the same in both releases."""
    old, new = before.declarations, after.declarations
    if old == new:
        return
    if old is None or new is None:
        if old or new:
            texts = ("not known" if declared is None else "known" for declared in (old, new))
            yield changed(Area.POLICY, "declarations", texts, _NOT_KNOWN, Impact.UNKNOWN)
        return
    for member in sorted(old.keys() | new.keys()):
        olds, news = (flat(_only(member, declared)) for declared in (old, new))
        for path in sorted(olds.keys() | news.keys()):
            values = olds.get(path, ""), news.get(path, "")
            if values[0] != values[1]:
                area, impact, reason = _JUDGES.get(member, _unknown)(path, *values)
                yield changed(area, path, values, reason, impact)


def _only(member: str, declarations: Declarations) -> Declarations:
    return {member: declarations[member]} if member in declarations else {}


def _unknown(path: str, before: str, after: str) -> Judgement:
    return Area.POLICY, Impact.UNKNOWN, _NEWER


def _steps(path: str, before: str, after: str) -> Judgement:
    return Area.POLICY, Impact.COMPATIBLE, _STEPS


def _settings(path: str, before: str, after: str) -> Judgement:
    return Area.CAPABILITY, Impact.COMPATIBLE, _NEEDED if after else _NOT_NEEDED


def _search(path: str, before: str, after: str) -> Judgement:
    return (Area.POLICY, Impact.UNKNOWN, _LOST) if before else (Area.POLICY, Impact.COMPATIBLE, _FOUND)


def _concurrency(path: str, before: str, after: str) -> Judgement:
    if after == REFUSE:
        return Area.POLICY, Impact.UNKNOWN, _REFUSES
    if path == 'concurrency["debounceSeconds"]' and not before:
        return Area.POLICY, Impact.UNKNOWN, _REPLACES
    changes_key = path == 'concurrency["key"]' and before and after
    return Area.POLICY, Impact.COMPATIBLE, _KEY if changes_key else _LIMIT


def _types(path: str, before: str, after: str) -> Judgement:
    return Area.POLICY, Impact.COMPATIBLE, _SHOWN


_JUDGES: Final[Mapping[str, Callable[[str, str, str], Judgement]]] = {
    "concurrency": _concurrency,
    "config": _settings,
    "search": _search,
    "secrets": _settings,
    "steps": _steps,
    "types": _types,
}
"""The judge of each member of declarations. It gets the path of a value, and its texts in both releases."""
