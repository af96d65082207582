"""What the code of a pipeline declares besides its contract: the entry `declarations.json` of an artifact. Pure.

The entry is an object. Each member is an object too, whose keys are names that the author chose: those of steps in
`steps`, those of fields in `search`, and those of types in `types`. Declarations are not in the contract, so a change
of them breaks nothing. They belong to the release, which pins the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from wire.documents.contract import DECLARATIONS_ENTRY
from wire.documents.json_reader import quoted, read_object, shown
from wire.findings import DocumentError, Finding

MAX_DECLARATIONS_BYTES: Final = 256 * 1024
MEMBERS: Final = ("concurrency", "config", "search", "secrets", "steps", "types")
"""The names of the members that the entry may have."""
Declarations = Mapping[str, Mapping[str, Any]]
"""The members of the entry, by name."""
Rule = Callable[[Mapping[str, Any]], Iterator[str]]
"""Yields what is wrong with a member."""


def _rule(member: str) -> Rule:
    """Return the rule of one of the MEMBERS. Most artifacts need none of the modules."""
    if member == "search":
        from wire.documents.search import wrong_paths

        return wrong_paths
    if member == "steps":
        from wire.documents.step_policy import wrong_steps

        return wrong_steps
    if member == "concurrency":
        from wire.documents.concurrency import wrong_limit

        return wrong_limit
    if member == "types":
        from wire.documents.described_types import wrong_types

        return wrong_types
    from wire.documents import step_settings

    return step_settings.wrong_config if member == "config" else step_settings.wrong_secrets


def read(data: bytes) -> dict[str, dict[str, Any]]:
    """Return the declarations in the entry of an artifact.

    Raises `DocumentError` for an unknown member, so that no coordinator ignores what a newer build declares, and for
    one that breaks its rule: ARTIFACT_DECLARATIONS_INVALID.
    """
    try:
        document = read_object(data, name=DECLARATIONS_ENTRY, limit=MAX_DECLARATIONS_BYTES)
    except DocumentError as error:
        raise DocumentError([_finding("", finding.message) for finding in error.findings]) from None
    findings = [_finding(name, text) for name, member in document.items() for text in _problems(name, member)]
    if findings:
        raise DocumentError(findings)
    return document


def _problems(name: str, member: Any) -> Iterator[str]:
    if name not in MEMBERS:
        yield f"there is no declaration {shown(name)}; a newer coordinator may know it"
    elif not isinstance(member, dict):
        yield f"{shown(name)} is no object"
    else:
        yield from _rule(name)(member)


def _finding(member: str, message: str) -> Finding:
    return Finding("ARTIFACT_DECLARATIONS_INVALID", f"{DECLARATIONS_ENTRY}#{member}", message)


def written(declarations: Declarations) -> str:
    """Return the text of the entry."""
    return json.dumps(declarations, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def merged(of_artifacts: Iterable[Declarations]) -> dict[str, dict[str, Any]]:
    """Return the declarations of a release: those of all its artifacts. Of equal names, the last one counts."""
    of_release: dict[str, dict[str, Any]] = {}
    for declarations in of_artifacts:
        for name, member in declarations.items():
            of_release.setdefault(name, {}).update(member)
    return of_release


def flat(declarations: Declarations) -> dict[str, str]:
    """Return the text of each declared value by its path, such as `steps["Book"].retries`, in the order of paths."""
    return {
        path: text
        for name in sorted(declarations)
        for key in sorted(declarations[name])
        for path, text in _flat(f"{name}[{quoted(key)}]", declarations[name][key])
    }


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, member in sorted(value.items()):
            yield from _flat(f"{path}.{key}", member)
    elif isinstance(value, list):
        yield path, ", ".join(map(text_of, value))
    else:
        yield path, text_of(value)


def text_of(value: Any) -> str:
    """Return a value as a short text: itself if it is one, or else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
