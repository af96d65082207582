"""Reads requirements files, as pip and uv write them, into the form of ``requirements.lock``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from pipelines.environment.lock import invalid

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
    options = "".join(f" --hash={each}" for each in sorted(set(hashes)))
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
