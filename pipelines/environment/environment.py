"""The Python environment of a process: interpreter, platform and installed distributions."""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from operator import attrgetter

from pipelines.environment.distributions import Distribution, installed_distributions
from pipelines.environment.lock import UNLOCKED, lock_of, locked, same_version


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
