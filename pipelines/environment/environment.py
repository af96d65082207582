"""The Python environment of a process: interpreter, platform and distributions, and the lock that an artifact requires.

``requirements.lock`` is a requirements file that pip and uv can install, with one distribution in each line: name,
version, marker and hashes. It has no comments and no options, because these may name folders, servers and passwords of
one machine.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Final

from pipelines.environment.distributions import Distribution, installed_distributions, normalised
from pipelines.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python implementation such as ``cpython``, its exact version, and its platform such as ``linux-x86_64``."""

    implementation: str
    version: str
    platform: str

    @classmethod
    def current(cls) -> Interpreter:
        """Return the interpreter that runs this process."""
        return cls(sys.implementation.name, platform.python_version(), sysconfig.get_platform())

    def as_json(self) -> dict[str, str]:
        """Return the members of the interpreter in an artifact's ``python.json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Required:
    """The environment that an artifact requires: its interpreter, and its ``requirements.lock``."""

    interpreter: Interpreter
    lock: str


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter and the distributions that are installed for it."""

    interpreter: Interpreter
    distributions: tuple[Distribution, ...]

    @classmethod
    def current(cls) -> Environment:
        """Return the environment of this process."""
        return cls(Interpreter.current(), tuple(installed_distributions()))

    @property
    def required(self) -> Required:
        """What an artifact that is built here requires."""
        return Required(self.interpreter, lock_of(self.distributions))

    @property
    def fingerprint(self) -> str:
        """A SHA-256 digest over interpreter, platform, and the names, versions and files of all distributions.

        Equal environments have the same fingerprint in every folder and with every installer.
        """
        hashed = hashlib.sha256("\n".join(self.interpreter.as_json().values()).encode())
        for each in sorted(self.distributions, key=attrgetter("name")):
            content = hashlib.sha256(each.content).hexdigest()
            hashed.update(f"\n{each.name}=={each.version} {content}".encode())
        return f"sha256:{hashed.hexdigest()}"

    def differences(self, required: Required) -> list[str]:
        """Return how this environment differs from the required one, one sentence for each difference.

        Compares interpreter and platform, and the versions of all distributions except for UNLOCKED. Editable
        distributions may be present in addition, because a worker does not run their code. Raises ``DefinitionError``
        INVALID_LOCK if the lock cannot be read.
        """
        return [*self._of_interpreter(required.interpreter), *self._of_distributions(required.lock)]

    def _of_interpreter(self, required: Interpreter) -> Iterator[str]:
        present = self.interpreter.as_json()
        for name, value in required.as_json().items():
            if present[name] != value:
                yield f"{name} is {present[name]}, required is {value}"

    def _of_distributions(self, lock: str) -> Iterator[str]:
        required = {each.name: each.version for each in locked(lock) if each.name not in UNLOCKED}
        present = {each.name: each for each in self.distributions if each.name not in UNLOCKED}
        for name in sorted(required.keys() | present.keys()):
            version = required.get(name)
            if name not in present:
                yield f"{name} is not installed, required is {version or 'any version'}"
            elif version is None:
                if not present[name].is_editable:
                    yield f"{name} {present[name].version} is installed, but not required"
            elif version and not same_version(version, present[name].version):
                yield f"{name} is {present[name].version}, required is {version}"


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
