"""The Python environment of a process: interpreter, platform and distributions, and the lock that an artifact requires.

What is installed is read from the names of the folders in site-packages and the RECORD files (PEP 376). A worker needs
no more, and `importlib.metadata` parses each METADATA file, which takes ten times as long.

``requirements.lock`` is a requirements file that pip and uv can install, with one distribution in each line: name,
version, marker and hashes. It has no comments and no options, because these may name folders, servers and passwords of
one machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.machinery import all_suffixes
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import coordinator_client
import wire
from pipelines.errors import DefinitionError

_METADATA: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-[^-]+)?\.(dist-info|egg-info)")
_RECORDED: Final = re.compile(
    r"""^(?!"?\.\.)(?:"((?:[^"]|"")+\.(?:py|so))"|([^",\n]+\.(?:py|so))),sha256=([\w-]+),""", re.MULTILINE
)
"""A file of code with its digest in RECORD, which is CSV. Files above site-packages are programs, not modules."""
_CONTENT: Final = re.compile(
    rb"(?!\"?\.\.|[^/]+\.dist-info/(INSTALLER|REQUESTED|RECORD|direct_url\.json|uv_\w+\.json),).+,sha256=[\w-]+,\d*$"
)
_LINK: Final = re.compile(rb"\"?([^/,]+\.pth|__editable__[^/,]*)\"?,")
"""A file that refers to the folder of an editable installation."""
_OWN_FOLDERS: Final = tuple(
    os.path.realpath(folder) + os.sep
    for folder in (str(Path(__file__).parent), *coordinator_client.__path__, *wire.__path__)
)
"""The code of the worker itself, which may be installed from a folder for development."""
_UNRECORDED: Final = frozenset({"_virtualenv.py"})
"""Files that virtualenv and uv put into site-packages without a record."""
_SITES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_WORKER: Final = frozenset({"coordinator_client", "pipelines", "wire"})


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution. ``name`` is normalised (PEP 503). ``metadata`` is its folder in site-packages."""

    name: str
    version: str
    metadata: Path

    @property
    def record(self) -> bytes:
        """The list of the distribution's files with their digests; empty if the installer wrote none."""
        try:
            return (self.metadata / "RECORD").read_bytes()
        except OSError:
            return b""

    @property
    def content(self) -> bytes:
        """The lines of ``record`` with a digest, in the order of the files' names, without what depends on the machine.

        Left out are programs, which name the interpreter's folder, what installers write about themselves, and the
        links of an editable installation to its folder. A file that was changed after its installation has the
        digest of its present content.
        """
        lines = [line for line in self.record.splitlines() if _CONTENT.match(line)]
        if self.is_editable:
            lines = [line for line in lines if not _LINK.match(line)]
        return b"\n".join(sorted(self._present(lines)))

    def _present(self, lines: list[bytes]) -> Iterator[bytes]:
        """Yield each line, and a digest of the file after it if its size or its time says that it was changed."""
        site, installed_at = os.fsencode(self.metadata.parent), None
        for line in lines:
            name, _, size = line.rsplit(b",", 2)
            path = os.path.join(site, name.strip(b'"').replace(b'""', b'"'))  # noqa: PTH118 - of thousands of files
            try:
                status = os.stat(path)  # noqa: PTH116
            except OSError:
                yield line + b" missing"
                continue
            if installed_at is None:
                installed_at = (self.metadata / "RECORD").stat().st_mtime_ns
            if status.st_mtime_ns > installed_at or (size and status.st_size != int(size)):
                digest = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).digest()
                present = base64.urlsafe_b64encode(digest).rstrip(b"=")
                if present not in line:
                    yield line + b" " + present
                    continue
            yield line

    @property
    def is_editable(self) -> bool:
        """True if the installation only refers to a folder with the source (PEP 610)."""
        try:
            origin = json.loads((self.metadata / "direct_url.json").read_bytes())
            return origin["dir_info"]["editable"] is True
        except (OSError, ValueError, KeyError, TypeError):
            return False


def site_folders() -> list[str]:
    """Return the folders on ``sys.path`` into which distributions are installed, without those that .pth files add."""
    installed = {*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if site.ENABLE_USER_SITE:
        installed.add(site.getusersitepackages())
    return [folder for folder in sys.path if folder in installed]


def installed_distributions(folders: Iterable[str] | None = None) -> list[Distribution]:
    """Return the distributions in ``folders``, by default those of this process, in the order of their names.

    If several have a name, the first on the path counts, as in an import.
    """
    distributions: dict[str, Distribution] = {}
    for folder in site_folders() if folders is None else folders:
        for path in sorted(Path(folder).glob("*-info")):
            if (match := _METADATA.fullmatch(path.name)) is not None:
                distribution = Distribution(normalised(match["name"]), match["version"], path)
                distributions.setdefault(distribution.name, distribution)
    return [distributions[name] for name in sorted(distributions)]


def normalised(name: str) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class InstalledCode:
    """The files of the standard library, of installed distributions, and of the worker's own packages."""

    def __init__(self) -> None:
        self._library = tuple({os.path.realpath(sysconfig.get_path(n)) + os.sep for n in ("stdlib", "platstdlib")})

    def contains(self, path: str) -> bool:
        """Return True if the file at this canonical path is installed. Its present content is not checked."""
        return self.is_trusted(path) or path in self._recorded

    def is_trusted(self, path: str) -> bool:
        """Return True for files that need no recorded digest: of the standard library, the worker and virtualenv."""
        if any(site in path for site in _SITES):
            return path.startswith(_OWN_FOLDERS) or os.path.basename(path) in _UNRECORDED  # noqa: PTH119 - of each import
        return path.startswith((*_OWN_FOLDERS, *self._library))

    def recorded_digest(self, path: str) -> str | None:
        """Return the SHA-256 digest that a distribution records for this file, in hexadecimal; None if none does."""
        digest = self._recorded.get(path)
        return None if digest is None else base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()

    @cached_property
    def _recorded(self) -> dict[str, str]:
        """The SHA-256 digest of each file by its absolute path, in URL-safe base64 without padding, as in RECORD."""
        provided = {}
        for distribution in installed_distributions():
            folder = os.path.realpath(distribution.metadata.parent) + os.sep
            for quoted, plain, digest in _RECORDED.findall(distribution.record.decode(errors="replace")):
                provided[folder + (plain or quoted.replace('""', '"'))] = digest
        return provided


def canonical(file: str) -> str:
    """Return the path of a file with the links of its folder resolved, but not the link that the file itself may be."""
    folder, name = os.path.split(file)
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - of each import


def top_level_modules(entries: Iterable[str]) -> set[str]:
    """Return the names of the top-level modules and packages among the entries of an artifact.

    A folder is a package if it contains code at any depth.
    """
    code = tuple(all_suffixes())
    return {entry.partition("/")[0].partition(".")[0] for entry in entries if entry.endswith(code)}


def shadowed_modules(names: Iterable[str], imported: Mapping[str, Any] | None = None) -> list[DefinitionError]:
    """Return an error MODULE_SHADOWED for each top-level module of an artifact that a worker would not import.

    These are the modules that have the name of a module in the standard library, of a package of the worker, or of a
    module in ``imported``: what the process has already imported from elsewhere, such as ``sys.modules``.
    """
    owners = {name: _owner(name, imported or {}) for name in sorted(names)}
    return [
        DefinitionError(
            "MODULE_SHADOWED",
            f"the artifact contains the module {name}, but in a worker this name means {owner}; rename the module",
        )
        for name, owner in owners.items()
        if owner
    ]


def _owner(name: str, imported: Mapping[str, Any]) -> str:
    if name in sys.stdlib_module_names:
        return "a module of the standard library"
    if name in _WORKER:
        return "a package of the worker"
    if name in imported:
        return f"the imported module in {getattr(imported[name], '__file__', None) or 'several folders'}"
    return ""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python implementation such as ``cpython``, its exact version, and its platform such as ``linux-x86_64``."""

    implementation: str
    version: str
    platform: str

    @classmethod
    def current(cls) -> Interpreter:
        return cls(sys.implementation.name, platform.python_version(), sysconfig.get_platform())

    def as_json(self) -> dict[str, str]:
        return asdict(self)


_SHOWN_AS: Final = {"implementation": "the implementation of Python", "version": "Python", "platform": "the platform"}


@dataclass(frozen=True, slots=True)
class Required:
    interpreter: Interpreter
    lock: str


@dataclass(frozen=True, slots=True)
class Environment:
    interpreter: Interpreter
    distributions: tuple[Distribution, ...]

    @classmethod
    def current(cls) -> Environment:
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
        for distribution in sorted(self.distributions, key=attrgetter("name")):
            content = hashlib.sha256(distribution.content).hexdigest()
            hashed.update(f"\n{distribution.name}=={distribution.version} {content}".encode())
        return f"sha256:{hashed.hexdigest()}"

    @property
    def own(self) -> Distribution | None:
        """The installation of OWN whose code this process runs; None if it runs a folder, as in development."""
        code = Path(__file__).resolve().parents[1]
        installed = (each for each in self.distributions if each.name == OWN)
        return next((each for each in installed if each.metadata.parent.resolve() == code), None)

    def differences(self, required: Required) -> list[str]:
        """Return how this environment differs from the required one, one sentence for each difference.

        What is missing comes first, then other versions, and what is not required last. Compares interpreter and
        platform, and the versions of all distributions except for UNLOCKED. Of OWN, a later version than the required
        one is no difference, and neither is what OWN requires in addition. Editable distributions may be present in
        addition, because a worker does not run their code. Raises ``DefinitionError`` INVALID_LOCK if the lock cannot
        be read.
        """
        members = self.interpreter.as_json()
        missing, extra = list[str](), list[str]()
        other = [
            f"{_SHOWN_AS[name]} is {members[name]}, required is {value}"
            for name, value in required.interpreter.as_json().items()
            if members[name] != value
        ]
        versions = {name: version for name, version in locked(required.lock) if name not in UNLOCKED}
        present = {
            distribution.name: distribution for distribution in self.distributions if distribution.name not in UNLOCKED
        }
        own, own_version = present.pop(OWN, None), versions.pop(OWN, "")
        if own is not None and own_version and is_earlier(own.version, own_version):
            other.append(f"{OWN} is {own.version}, required is {own_version} or later")
        if own is not None and present.keys() - versions.keys():
            for name in _required_by(own, present) - versions.keys():
                del present[name]
        for name in sorted(versions.keys() | present.keys()):
            version = versions.get(name)
            if name not in present:
                missing.append(f"{name} is not installed, required is {version or 'any version'}")
            elif version is None:
                if not present[name].is_editable:
                    extra.append(f"{name} {present[name].version} is installed, but not required")
            elif version and not _same_version(version, present[name].version):
                other.append(f"{name} is {present[name].version}, required is {version}")
        return [*missing, *other, *extra]


UNLOCKED: Final = frozenset({"pip", "setuptools", "uv", "wheel"})
"""Tools that install other distributions. ``pip freeze`` leaves most of them out too. They are not compared."""
OWN: Final = "durable-pipelines"
"""The distribution that every worker runs. It hosts releases that were built with an earlier version."""
_LINE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)(\[[^\]]*\])?(={2,3}(?P<version>[^\s;,*=]+)| @ \S+)( ; (?P<marker>.+?))?"
    r"( --hash=\w+:[0-9a-f]+)*"
)


def lock_of(installed: Iterable[Distribution]) -> str:
    """Return the lock of the installed distributions.

    Leaves out UNLOCKED, and the editable ones: their code is in a folder of this machine, so an artifact packs it.
    """
    lines = [
        f"{distribution.name}=={distribution.version}"
        for distribution in installed
        if distribution.name not in UNLOCKED and not distribution.is_editable
    ]
    return "".join(f"{line}\n" for line in sorted(lines))


def locked(lock: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of the distributions in a ``requirements.lock`` whose markers apply to this interpreter.

    The version is empty if the distribution is locked to a URL.
    Raises ``DefinitionError`` INVALID_LOCK, with the number of a line that does not lock one distribution.
    """
    for number, line in enumerate(lock.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise invalid("requirements.lock", number, f"{line[:200]!r} does not lock one distribution")
        if match["marker"] is None or _applies(match["marker"], number):
            yield normalised(match["name"]), match["version"] or ""


def _same_version(version: str, other: str) -> bool:
    """Return True if two texts are the same version, such as 1.0 and 1.0.0 (PEP 440)."""
    if version == other:
        return True
    from packaging.utils import canonicalize_version

    return canonicalize_version(version) == canonicalize_version(other)


def is_earlier(version: str, required: str) -> bool:
    """Return True if ``version`` does not follow ``required`` and is not the same (PEP 440)."""
    if version == required:
        return False
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(required)
    except InvalidVersion:
        return True


def _required_by(own: Distribution, present: Mapping[str, Distribution]) -> set[str]:
    """Return the names of those distributions in ``present`` that ``own`` requires, also those of its extras."""
    from importlib.metadata import Distribution as Described

    from packaging.requirements import Requirement

    found, pending = set[str](), [own]
    while pending:
        described = Described.at(pending.pop().metadata)
        names = {normalised(Requirement(requirement).name) for requirement in described.requires or ()}
        new = (names & present.keys()) - found
        found |= new
        pending += [present[name] for name in new]
    return found


def invalid(source: object, line: int, reason: str) -> DefinitionError:
    """Return an error about a line of a lock, or about the whole lock if ``line`` is 0."""
    return DefinitionError("INVALID_LOCK", f"{source}{f', line {line}' if line else ''}: {reason}")


def _applies(marker: str, line: int) -> bool:
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate()
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName) as error:
        raise invalid("requirements.lock", line, f"the marker cannot be evaluated: {error}") from error
