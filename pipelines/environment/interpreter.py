"""The Python interpreter that runs this process, as artifacts and workers describe it."""

from __future__ import annotations

import platform
import sys
import sysconfig
from dataclasses import asdict, dataclass


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
