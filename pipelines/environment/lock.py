"""The distributions that a pipeline needs, with exact versions: ``requirements.lock`` in its artifact.

The lock is text in pip's requirements format, so pip and uv can install it. Hashes are kept if the source has them.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

from pipelines.environment.distributions import Distribution, normalised
from pipelines.errors import DefinitionError

UNLOCKED: Final = frozenset({"pip", "setuptools", "uv", "wheel"})
"""Tools that install other distributions. ``pip freeze`` leaves most of them out too."""
_UV: Final = ("export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate", "--quiet")


@dataclass(frozen=True, slots=True)
class Locked:
    """A locked distribution. ``version`` is empty if it is locked to a URL."""

    name: str
    version: str


def lock_of(installed: Iterable[Distribution]) -> str:
    """Return the lock of the installed distributions, without UNLOCKED."""
    lines = [f"{each.name}=={each.version}" for each in installed if each.name not in UNLOCKED]
    return "".join(f"{line}\n" for line in sorted(lines))


def lock_from(path: Path) -> str:
    """Return the lock in a file: ``uv.lock``, ``pylock.toml`` (PEP 751), or requirements with exact versions.

    Raises ``DefinitionError``: INVALID_LOCK, and UV_NOT_FOUND if uv is needed to read ``uv.lock``.
    """
    if path.name == "uv.lock":
        text = _exported(path)
    else:
        text = _read(path)
        if path.suffix == ".toml":
            text = _from_pylock(path, text)
    list(locked(text, str(path)))
    return text


def locked(text: str, source: str) -> Iterator[Locked]:
    """Yield the distributions of a lock whose markers apply to this interpreter.

    Raises ``DefinitionError`` INVALID_LOCK for a line that does not lock one distribution.
    """
    for line in _lines(text):
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            raise _invalid(source, f"{line!r} is not a requirement: {error}") from error
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        pins = list(requirement.specifier)
        exact = len(pins) == 1 and pins[0].operator in {"==", "==="} and not pins[0].version.endswith(".*")
        if not exact and requirement.url is None:
            raise _invalid(source, f"{line!r} has no exact version")
        yield Locked(normalised(requirement.name), pins[0].version if exact else "")


def _lines(text: str) -> Iterator[str]:
    """Yield the requirements without comments and options, such as hashes."""
    for line in text.replace("\\\n", " ").splitlines():
        requirement = line.partition(" #")[0].partition(" --")[0].strip()
        if requirement and not requirement.startswith(("#", "--")):
            yield requirement.removeprefix("-e ").strip()


def _exported(path: Path) -> str:
    uv = shutil.which("uv")
    if uv is None:
        raise DefinitionError("UV_NOT_FOUND", f"install uv, which reads {path}, or give --lock a requirements file")
    done = subprocess.run(
        [uv, *_UV, "--project", str(path.parent)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise _invalid(str(path), f"uv export failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _from_pylock(path: Path, text: str) -> str:
    try:
        packages = tomllib.loads(text)["packages"]
        return "".join(sorted(_requirement(each) for each in packages if _applies(each)))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, InvalidMarker) as error:
        raise _invalid(str(path), f"it is not a lock file (PEP 751): {error}") from error


def _applies(package: dict[str, Any]) -> bool:
    return "marker" not in package or Marker(package["marker"]).evaluate({"extras": set(), "dependency_groups": set()})


def _requirement(package: dict[str, Any]) -> str:
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    hashes = sorted({file["hashes"]["sha256"] for file in files if "sha256" in file.get("hashes", {})})
    options = "".join(f" \\\n    --hash=sha256:{each}" for each in hashes)
    return f"{normalised(package['name'])}=={package['version']}{options}\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(str(path), f"it cannot be read: {error}") from error


def _invalid(source: str, reason: str) -> DefinitionError:
    return DefinitionError("INVALID_LOCK", f"{source}: {reason}")
