"""Reads the Python environment that an artifact requires: its `python.json` and `requirements.lock`. Pure.

Only artifacts that `pipelines build` wrote have these entries. What they say is displayed and never trusted, so wrong
content is a warning and rejects no artifact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from wire.archive.layout import Layout
from wire.archive.reader import read_entry
from wire.documents.contract import LOCK_ENTRY, PYTHON_ENTRY
from wire.documents.json_reader import read_object
from wire.findings import DocumentError, Finding, Severity

MAX_PYTHON_BYTES = 64 * 1024
MAX_LOCK_BYTES = 2 * 1024 * 1024
MAX_DISTRIBUTIONS = 2000
LONGEST = 200
"""The longest name and version of a distribution, and the longest member of `python.json`, in characters."""

_MEMBERS = ("implementation", "version", "platform")
_MEMBER = re.compile(rf"[ -~]{{1,{LONGEST}}}")
_NAME = rf"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}})(\s*\[[^\]]*\])?"
_LOCKED = re.compile(rf"{_NAME}\s*(?:===?\s*(?P<version>[A-Za-z0-9._+!-]{{1,{LONGEST}}})|@\s*\S+)\s*(;.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class RequiredEnvironment:
    """The environment that an artifact requires. `distributions` are names with versions, "" for one from a URL.

    The interpreter's members are "" if the artifact does not describe it.
    """

    implementation: str
    version: str
    platform: str
    distributions: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        distributions = [{"name": name, "version": version} for name, version in self.distributions]
        return {**asdict(self), "distributions": distributions}


def required_environment(layout: Layout) -> tuple[RequiredEnvironment | None, list[Finding]]:
    """Return what the entries of an archive say, and warnings about wrong ones; None if no entry can be read.

    The field of a finding is the entry's name.
    """
    findings: list[Finding] = []
    interpreter: dict[str, str] | None = None
    distributions: list[tuple[str, str]] | None = None
    try:
        interpreter = _interpreter(layout)
    except _Unreadable as error:
        findings.append(_warning("ARTIFACT_PYTHON_UNREADABLE", PYTHON_ENTRY, str(error)))
    try:
        distributions = _distributions(layout)
    except _Unreadable as error:
        findings.append(_warning("ARTIFACT_LOCK_UNREADABLE", LOCK_ENTRY, str(error)))
    if interpreter is None and distributions is None:
        return None, findings
    members = interpreter or dict.fromkeys(_MEMBERS, "")
    return RequiredEnvironment(**members, distributions=tuple(distributions or ())), findings


class _Unreadable(Exception):
    """The reason why an entry cannot be read."""


def _interpreter(layout: Layout) -> dict[str, str] | None:
    data = _entry(layout, PYTHON_ENTRY, MAX_PYTHON_BYTES)
    if data is None:
        return None
    try:
        document = read_object(data, name=PYTHON_ENTRY, limit=MAX_PYTHON_BYTES)
    except DocumentError:
        raise _Unreadable("it is not a JSON object") from None
    for name in _MEMBERS:
        value = document.get(name)
        if not isinstance(value, str) or _MEMBER.fullmatch(value) is None:
            raise _Unreadable(f"{name} is not a printable text of at most {LONGEST} characters")
    return {name: document[name] for name in _MEMBERS}


def _distributions(layout: Layout) -> list[tuple[str, str]] | None:
    data = _entry(layout, LOCK_ENTRY, MAX_LOCK_BYTES)
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _Unreadable("it is not UTF-8") from None
    found: list[tuple[str, str]] = []
    for number, line in _lines(text):
        match = _LOCKED.fullmatch(line)
        if match is None:
            raise _Unreadable(f"line {number} does not lock one distribution")
        if len(found) == MAX_DISTRIBUTIONS:
            raise _Unreadable(f"it locks more than {MAX_DISTRIBUTIONS} distributions")
        found.append((match["name"], match["version"] or ""))
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the requirements and the numbers of their lines, without comments and options, such as hashes."""
    continued = False
    for number, line in enumerate(text.split("\n"), start=1):
        requirement = line.partition(" #")[0].partition(" --")[0].removesuffix("\\").strip()
        if requirement and not continued and not requirement.startswith(("#", "--")):
            yield number, requirement.removeprefix("-e ").strip()
        continued = line.rstrip().endswith("\\")


def _entry(layout: Layout, name: str, most: int) -> bytes | None:
    if any(entry.name == name and entry.size > most for entry in layout.entries):
        raise _Unreadable(f"it is larger than {most} bytes")
    return read_entry(layout, name)


def _warning(code: str, name: str, reason: str) -> Finding:
    return Finding(code, name, f"the environment that the artifact requires is not shown: {reason}", Severity.WARNING)
