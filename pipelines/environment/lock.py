"""``requirements.lock``: the distributions that the code of an artifact needs, with exact versions.

It is a requirements file that pip and uv can install, with one distribution in each line: name, version, marker and
hashes. It has no comments and no options, because these may name folders, servers and passwords of one machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pipelines.environment.distributions import Distribution, normalised
from pipelines.errors import DefinitionError

UNLOCKED: Final = frozenset({"pip", "setuptools", "uv", "wheel"})
"""Tools that install other distributions. ``pip freeze`` leaves most of them out too. They are not compared."""
OWN: Final = "durable-pipelines"
"""The distribution that every worker runs."""
_LINE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)(\[[^\]]*\])?(={2,3}(?P<version>[^\s;,*=]+)| @ (?P<url>\S+))( ; (?P<marker>.+?))?"
    r"(?P<hashes>( --hash=\w+:[0-9a-f]+)*)"
)


@dataclass(frozen=True, slots=True)
class Locked:
    """A line of a lock. ``version`` is empty if the distribution is locked to a URL."""

    requirement: str
    name: str
    version: str


def lock_of(installed: Iterable[Distribution]) -> str:
    """Return the lock of the installed distributions.

    Leaves out UNLOCKED, and the editable ones: their code is in a folder of this machine, so an artifact packs it.
    """
    lines = [f"{each.name}=={each.version}" for each in installed if each.name not in UNLOCKED and not each.is_editable]
    return "".join(f"{line}\n" for line in sorted(lines))


def locked(lock: str) -> Iterator[Locked]:
    """Yield the distributions of a ``requirements.lock`` that apply to this interpreter, as their markers say.

    Raises ``DefinitionError`` INVALID_LOCK, with the number of a line that does not lock one distribution.
    """
    for number, line in enumerate(lock.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise invalid("requirements.lock", number, f"{line[:200]!r} does not lock one distribution")
        if match["marker"] is None or _applies(match["marker"], number):
            yield Locked(line, normalised(match["name"]), match["version"] or "")


def same_version(one: str, other: str) -> bool:
    """Return True if two texts are the same version, such as 1.0 and 1.0.0 (PEP 440)."""
    if one == other:
        return True
    from packaging.utils import canonicalize_version

    return canonicalize_version(one) == canonicalize_version(other)


def invalid(source: object, line: int, reason: str) -> DefinitionError:
    """Return an error about a line of a lock, or about the whole lock if ``line`` is 0."""
    return DefinitionError("INVALID_LOCK", f"{source}{f', line {line}' if line else ''}: {reason}")


def _applies(marker: str, line: int) -> bool:
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate()
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName) as error:
        raise invalid("requirements.lock", line, f"the marker cannot be evaluated: {error}") from error
