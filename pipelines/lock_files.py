"""Reads lock files: ``uv.lock``, ``pylock.toml`` (PEP 751) and requirements files. Makes environments with uv."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.pylock import Package, Pylock, PylockSelectError, PylockValidationError, is_valid_pylock_path
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from pipelines.environment import (
    OWN,
    Environment,
    Interpreter,
    Required,
    installed_distributions,
    invalid,
    is_earlier,
    locked,
)
from pipelines.errors import DefinitionError


class UvFailed(Exception):
    """uv ended with an error. The text is the end of its message, in one line."""


def run_uv(*arguments: str) -> str:
    """Run uv and return its output. It is looked for on PATH, then next to the interpreter.

    Raises ``UvFailed``, and ``DefinitionError`` UV_NOT_FOUND.
    """
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise DefinitionError("UV_NOT_FOUND", "there is no uv on PATH; install it, for example with pip install uv")
    command = [uv, "--quiet", "--color=never", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise UvFailed(f"uv {arguments[0]} failed: {' '.join(done.stderr.split())[-500:]}")
    return done.stdout


def sync(required: Required, target: Path) -> list[str]:
    """Create the virtual environment ``target``, or change an existing one, so that it has what ``required`` names.

    Distributions that are not required are removed. The interpreter is that of this process if it is the required one;
    otherwise uv finds or downloads it. Of durable-pipelines, the version of this process is installed with what it
    requires; the locked one if that is later, or if this process runs a folder.

    Return the differences that remain because that version requires them, as ``Environment.differences`` does. Raises
    ``DefinitionError``: UV_NOT_FOUND, INVALID_LOCK, and ENVIRONMENT_NOT_MADE with the message of uv.
    """
    python = required.interpreter
    interpreter = sys.executable if python == Interpreter.current() else f"{python.implementation}@{python.version}"
    lines, own = _with_own(required.lock.splitlines())
    try:
        run_uv("venv", "--allow-existing", "--python", interpreter, str(target))
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lock:
            lock.writelines(f"{line}\n" for line in lines)
            lock.flush()
            run_uv("pip", "sync", "--allow-empty-requirements", "--python", str(target), lock.name)
        if own:
            run_uv("pip", "install", "--python", str(target), own)
    except UvFailed as error:
        raise DefinitionError("ENVIRONMENT_NOT_MADE", f"{target}: {error}") from error
    folders = [str(folder) for folder in target.glob("lib/*/site-packages")]
    return Environment(python, tuple(installed_distributions(folders))).differences(required)


def _with_own(lines: list[str]) -> tuple[list[str], str]:
    """Return the lines of a lock with the durable-pipelines to install, and that requirement if it is not locked."""
    own_lines = [line for line in lines if any(name == OWN for name, _ in locked(line))]
    running = Environment.current().own
    versions = [version for line in own_lines for _, version in locked(line)]
    if versions and (running is None or not is_earlier(versions[0], running.version)):
        return lines, ""
    extras = {extra for line in own_lines for extra in Requirement(line.partition(" --hash")[0]).extras}
    named = f"{OWN}[{','.join(sorted(extras))}]" if extras else OWN
    own = named if running is None else f"{named}=={running.version}"
    return [*(line for line in lines if line not in own_lines), own], own


_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_OPTION: Final = re.compile(r"\s+(?=--)")
_HASH: Final = re.compile(r"--hash(?:=|\s+)(\w+:[0-9a-f]+)")
_CREDENTIALS: Final = re.compile(r"//[^/\s]*@")
_EDITABLE: Final = re.compile(r"(-e|--editable)[\s=].*")
_ABOUT_INSTALLATION: Final = re.compile(
    r"(-i|-f|--(index-url|extra-index-url|find-links|no-index|trusted-host|pre|prefer-binary|require-hashes|"
    r"no-binary|only-binary|use-feature))([\s=].*)?"
)
"""Options of pip that say where and how to get distributions. The machine that installs them decides that."""


def lock_in_requirements(text: str, source: str) -> str:
    """Return the lock in a requirements file with exact versions. ``source`` is the name of the file in errors.

    Leaves out comments, options about the installation, and editable requirements. A local wheel is locked to its
    version. Raises ``DefinitionError`` INVALID_LOCK, with the number of the line.
    """
    return "".join(f"{line}\n" for line in sorted(_lines(text, source)))


def lock_line(requirement: Requirement, hashes: Iterable[str]) -> str:
    """Return the line of a lock for a requirement with one version or URL. ``hashes`` are such as ``sha256:4f5e``."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    version = f" @ {requirement.url}" if requirement.url else str(requirement.specifier)
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    options = "".join(f" --hash={digest}" for digest in sorted(set(hashes)))
    return f"{canonicalize_name(requirement.name)}{extras}{version}{marker}{options}"


def require_portable(requirement: Requirement) -> Requirement:
    """Return the requirement, with the version of a local wheel instead of its place.

    Raises ``ValueError`` if it has no exact version, or names a local file, or a URL with a password.
    """
    if requirement.url is None:
        pins = list(requirement.specifier)
        if len(pins) != 1 or pins[0].operator not in {"==", "==="} or pins[0].version.endswith(".*"):
            raise ValueError("it has no exact version")
        return requirement
    url = urlsplit(requirement.url)
    if url.scheme in {"", "file"}:
        return _of_wheel(url.path, requirement.marker)
    if url.password is not None or (url.username is not None and "ssh" not in url.scheme):
        raise ValueError("its URL contains a password, which every reader of the artifact would see")
    return requirement


def _lines(text: str, source: str) -> Iterator[str]:
    for number, line in _joined(text):
        if not line or _EDITABLE.fullmatch(line) or _ABOUT_INSTALLATION.fullmatch(line):
            continue
        specification, *options = _OPTION.split(line)
        try:
            hashes = [_hash(option) for option in options]
            yield lock_line(require_portable(_requirement(specification)), hashes)
        except ValueError as error:  # also InvalidRequirement, InvalidMarker
            shown = _CREDENTIALS.sub("//…@", line)[:200]
            raise invalid(source, number, f"{shown!r} does not lock one distribution: {error}") from None


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line without its comment, and the number of its first line."""
    start, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        start = start or number
        continues = line.endswith("\\") and not line.lstrip().startswith("#")
        parts.append(line[:-1] if continues else line)
        if not continues:
            yield start, _COMMENT.sub("", " ".join(parts)).strip()
            start, parts = 0, []
    if parts:
        yield start, _COMMENT.sub("", " ".join(parts)).strip()


def _hash(option: str) -> str:
    match = _HASH.fullmatch(option.strip())
    if match is None:
        raise ValueError(f"{option.split('=')[0]} is not supported")
    return match[1]


def _requirement(text: str) -> Requirement:
    if text.startswith("-"):
        raise ValueError("write all requirements into one file, as pip freeze and uv export do")
    try:
        return Requirement(text)
    except InvalidRequirement:
        path, _, marker = text.partition(" ;")
        if not path.strip().endswith(".whl") or "://" in path:
            raise
        return _of_wheel(path.strip(), Marker(marker) if marker else None)


def _of_wheel(path: str, marker: Marker | None) -> Requirement:
    try:
        name, version, _, _ = parse_wheel_filename(unquote(PurePosixPath(path).name))
    except InvalidWheelFilename as error:
        raise ValueError("other machines do not have this local file; build a wheel, or pack the code") from error
    return Requirement(f"{name}=={version}{f' ; {marker}' if marker else ''}")


_EXPORT: Final = ("--frozen", "--no-default-groups", "--no-emit-workspace", "--no-annotate", "--no-header")


def lock_from(path: Path) -> str:
    """Return the ``requirements.lock`` in a file: ``uv.lock``, ``pylock.toml``, or requirements with exact versions.

    Of ``uv.lock``, it contains the dependencies of the project, without its groups and extras. The project itself, the
    other members of its workspace and editable distributions are left out, because their code is packed. The same file
    gives the same text; of a ``pylock.toml``, for the same interpreter and platform.

    Raises ``DefinitionError``: INVALID_LOCK, and UV_NOT_FOUND if uv is needed to read ``uv.lock``.
    """
    text = _read(path)
    if path.name == "uv.lock":
        lock = lock_in_requirements(_exported(path), str(path))
    elif is_valid_pylock_path(path):
        lock = "".join(f"{line}\n" for line in sorted(_of_pylock(path, text)))
    else:
        lock = lock_in_requirements(text, str(path))
    _require_unique(lock, path)
    return lock


def _exported(path: Path) -> str:
    try:
        return run_uv("export", *_EXPORT, "--project", str(path.parent), "--python", sys.executable)
    except UvFailed as error:
        raise invalid(path, 0, str(error)) from error
    except DefinitionError as error:
        text = f"{path} can be read with uv only, and uv is not installed; install it, or give --lock another file"
        raise DefinitionError("UV_NOT_FOUND", text) from error


def _of_pylock(path: Path, text: str) -> Iterator[str]:
    try:
        selected = list(Pylock.from_dict(tomllib.loads(text)).select())
        for package, _ in selected:
            if package.directory is None:
                yield _line(package)
    except (tomllib.TOMLDecodeError, PylockValidationError, PylockSelectError, ValueError) as error:
        raise invalid(path, 0, str(error)) from error


def _line(package: Package) -> str:
    """Return the line of a package, with the hashes of all its files, also of those for other machines."""
    files = [*(package.wheels or ()), *((package.sdist,) if package.sdist else ())]
    place = f"=={package.version}"
    if package.archive is not None:
        files = [package.archive]
        place = f" @ {package.archive.url or package.archive.path}"
    elif package.vcs is not None:
        place = f" @ {package.vcs.type}+{package.vcs.url}@{package.vcs.commit_id}"
    elif package.version is None:
        raise ValueError(f"{package.name} has no exact version")
    hashes = (f"sha256:{file.hashes['sha256']}" for file in files if "sha256" in file.hashes)
    return lock_line(require_portable(Requirement(f"{package.name}{place}")), hashes)


def _require_unique(lock: str, path: Path) -> None:
    names = [name for name, _ in locked(lock)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise invalid(path, 0, f"{', '.join(twice)} is locked more than once for this interpreter")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(path, 0, f"it cannot be read: {error}") from error
