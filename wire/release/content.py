"""Reads what a stored artifact contains: its digest, the entries below `META-INF/pipeline/`, and its environment. Pure.

Only artifacts that `pipelines build` wrote describe the Python environment that they require. What they say is
displayed and never trusted, so wrong content is a warning and rejects no artifact.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO, Final

from wire.documents.contract import (
    CAPABILITIES_ENTRY,
    CONTRACT_ENTRY,
    CONTRACT_NAME,
    DECLARATIONS_ENTRY,
    LOCK_ENTRY,
    PYTHON_ENTRY,
    Contract,
)
from wire.documents.descriptor import DESCRIPTOR_NAME, ArtifactKind, CarrierDescriptor, artifact_field
from wire.documents.json_reader import field_of, read_object, shown
from wire.findings import DocumentError, Finding, Severity
from wire.release.archive import Layout, read_entry, read_layout, unpacked

COMPILED_TRUTH: Final = "META-INF/pipeline/"
"""Entries below this folder are what the compiler of a pipeline wrote."""
MAX_CAPABILITIES_BYTES: Final = 64 * 1024
"""The largest list of capabilities in an artifact."""
_OF_ONE_ARTIFACT: Final = frozenset({PYTHON_ENTRY, LOCK_ENTRY, CAPABILITIES_ENTRY})
_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """What an artifact's bytes contain. `findings` are about the archive, and the rest is empty if there are any.

    `is_archive` is False for a file that readers do not take for an archive. `contract` are the bytes of the contract.
    `truth` has the SHA-256 of each entry below `META-INF/pipeline/` that describes the pipeline and not only this
    artifact; `others` has the names of up to ten entries outside that folder. `environment` is the one that the
    artifact requires, and `warnings` are about the entries that describe it. `capabilities` are what its code requires.
    `declarations` are what the code declares besides its contract.
    """

    digest: str
    findings: tuple[Finding, ...] = ()
    is_archive: bool = True
    contract: bytes | None = None
    truth: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    environment: RequiredEnvironment | None = None
    warnings: tuple[Finding, ...] = ()
    capabilities: frozenset[str] = frozenset()
    declarations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def content_of(file: BinaryIO) -> Content:
    """Return what a seekable file contains, and close it. Raises what reading raises."""
    with file:
        digest = digest_of(file)
        try:
            layout = read_layout(file)
            return Content(digest, is_archive=False) if layout is None else _archived(digest, layout)
        except DocumentError as error:
            return Content(digest, error.findings)


def digest_of(file: BinaryIO) -> str:
    """Return `sha256:` and the lower-case hex SHA-256 of a seekable file, in constant memory."""
    file.seek(0, io.SEEK_SET)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _archived(digest: str, layout: Layout) -> Content:
    environment, warnings = required_environment(layout)
    files = [entry.name for entry in layout.entries if not entry.is_folder]
    return Content(
        digest,
        contract=read_entry(layout, CONTRACT_ENTRY),
        truth=_truth(layout),
        others=tuple(name for name in files if not name.startswith(COMPILED_TRUTH))[:10],
        environment=environment,
        warnings=tuple(warnings),
        capabilities=_capabilities(layout),
        declarations=_declarations(layout),
    )


def _truth(layout: Layout) -> dict[str, str]:
    documents = {}
    for entry in layout.entries:
        if entry.name.startswith(COMPILED_TRUTH) and not entry.is_folder and entry.name not in _OF_ONE_ARTIFACT:
            digest = hashlib.sha256()
            for piece in unpacked(layout, entry):
                digest.update(piece)
            documents[entry.name] = digest.hexdigest()
    return documents


def _capabilities(layout: Layout) -> frozenset[str]:
    """Return the names in the list of capabilities; none if the artifact has no such list."""
    try:
        names = json.loads(_bounded_entry(layout, CAPABILITIES_ENTRY, MAX_CAPABILITIES_BYTES) or b"[]")
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()


def _declarations(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return what the code declares. Raises `DocumentError` if it cannot be read."""
    if all(entry.name != DECLARATIONS_ENTRY for entry in layout.entries):
        return {}
    from wire.documents.declarations import MAX_DECLARATIONS_BYTES, read  # most artifacts declare nothing

    return read(_bounded_entry(layout, DECLARATIONS_ENTRY, MAX_DECLARATIONS_BYTES) or b"")


def _bounded_entry(layout: Layout, name: str, most: int) -> bytes | None:
    """Return the bytes of an entry; None if there is no such entry, or it is larger than `most` bytes."""
    too_large = any(entry.name == name and entry.size > most for entry in layout.entries)
    return None if too_large else read_entry(layout, name)


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
    problems: list[tuple[str, str]] = []
    for number, line in _lines(text):
        match = _LOCKED.fullmatch(line)
        if match is None:
            raise _Unreadable(f"line {number} does not lock one distribution")
        if len(problems) == MAX_DISTRIBUTIONS:
            raise _Unreadable(f"it locks more than {MAX_DISTRIBUTIONS} distributions")
        problems.append((match["name"], match["version"] or ""))
    return problems


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


_SHOWN: Final = 5
"""How many entries a message names."""


def carrier_findings(descriptor: CarrierDescriptor, contents: Sequence[Content | None]) -> Iterator[Finding]:
    """Yield what is wrong with the carrier and with the form of archives, and where other archives differ from it.

    `contents` has one item for each artifact, None if its bytes are not available. Archives with other findings
    are skipped.
    """
    for position, (artifact, content) in enumerate(zip(descriptor.artifacts, contents, strict=True)):
        if content is not None:
            yield from _form(position, artifact.kind, content)
    carrier = descriptor.carrier
    position = descriptor.artifacts.index(carrier)
    truth = contents[position]
    if truth is None or truth.findings or not truth.is_archive:
        return
    if truth.contract is None:
        message = f"the carrier of the contract has no entry {CONTRACT_ENTRY}"
        yield _finding("COMPILED_TRUTH_MISSING", position, message)
        return
    for at, content in enumerate(contents):
        if content is not None and content is not truth and not content.findings:
            yield from _differences(at, content, truth, carrier.artifact_id)


def _form(position: int, kind: ArtifactKind, content: Content) -> Iterator[Finding]:
    """Yield a finding if the artifact is not the archive that its kind requires."""
    if kind.may_carry_contract and not content.is_archive:
        yield _finding("ARTIFACT_NOT_ARCHIVE", position, f"an artifact of kind {kind} must be a zip archive")
    if kind is ArtifactKind.COMPILED_TRUTH and content.others:
        message = f"an artifact of kind {kind} has entries outside of {COMPILED_TRUTH}: {_list(content.others)}"
        yield _finding("COMPILED_TRUTH_OTHER_ENTRIES", position, message)


def _differences(position: int, content: Content, truth: Content, carrier: str) -> Iterator[Finding]:
    if content.contract is not None and content.contract != truth.contract:
        message = f"its contract differs from the one in the carrier {shown(carrier)}"
        yield _finding("CONTRACT_DIFFERS_FROM_CARRIER", position, message)
    differing = [
        name for name, digest in content.truth.items() if name != CONTRACT_ENTRY and truth.truth.get(name) != digest
    ]
    if differing:
        message = f"entries differ from those in the carrier {shown(carrier)}, or are missing there: {_list(differing)}"
        yield _finding("COMPILED_TRUTH_DIFFERS", position, message)


def _list(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return ", ".join(shown(name) for name in names[:_SHOWN]) + more


def _finding(code: str, position: int, message: str, *members: str) -> Finding:
    return Finding(code, artifact_field(position, *members), message)


LOCAL = "local"
"""The capability of a contract that allows local execution."""


def known_capabilities(contract: Contract) -> list[str]:
    """Return the capabilities that the artifacts of a release must cover, in the order of the contract."""
    declared = contract.capabilities
    names = [LOCAL] if declared.local_transition_execution else []
    return list(dict.fromkeys([*names, *declared.transition_worker_protocols]))


def placement_findings(
    descriptor: CarrierDescriptor, contract: Contract, *, uploaded: bool = False
) -> Iterator[Finding]:
    """Yield what is wrong with the names of the contract's steps, with their places, and with the capabilities.

    Each step belongs to exactly one deployable artifact. The deployable artifacts together have all capabilities.
    `uploaded` is True if the contract was uploaded with the descriptor and not read from the carrier.
    """
    inside = "" if uploaded else f"{artifact_field(descriptor.artifacts.index(descriptor.carrier))}!"
    yield from (replace(finding, field=inside + finding.field) for finding in _step_names(contract))
    steps = dict.fromkeys(step.authored_name or "" for step in contract.steps)
    capabilities = dict.fromkeys(known_capabilities(contract))
    hosts: Counter[str] = Counter()
    covered: set[str] = set()
    for position, artifact in enumerate(descriptor.artifacts):
        for name in artifact.step_ids:
            if name not in steps:
                yield _finding("STEP_UNKNOWN", position, f"the contract has no step {shown(name)}", "stepIds")
        for name in artifact.capabilities:
            if name not in capabilities:
                message = f"the contract does not declare the capability {shown(name)}"
                yield _finding("CAPABILITY_UNKNOWN", position, message, "capabilities")
        hosts.update(artifact.step_ids)
        covered.update(artifact.capabilities)
    for name in steps:
        if name.strip() and hosts[name] != 1:
            code = "STEP_PLACED_TWICE" if hosts[name] else "STEP_NOT_PLACED"
            message = f"{hosts[name] or 'no'} artifacts have the step {shown(name)}; exactly one must have it"
            yield Finding(code, DESCRIPTOR_NAME, message)
    for name in capabilities:
        if name not in covered:
            message = f"no artifact has the capability {shown(name)}"
            yield Finding("CAPABILITY_NOT_COVERED", DESCRIPTOR_NAME, message)


def _step_names(contract: Contract) -> Iterator[Finding]:
    if not contract.steps:
        yield Finding("CONTRACT_WITHOUT_STEPS", f"{CONTRACT_NAME}#steps", "the contract has no steps")
    counts = Counter(step.authored_name for step in contract.steps)
    for index, step in enumerate(contract.steps):
        name = field_of(CONTRACT_NAME, ("steps", index, "authoredName"))
        if not (step.authored_name or "").strip():
            yield Finding("CONTRACT_STEP_UNNAMED", name, "the step has no authoredName")
        elif counts[step.authored_name] > 1:
            message = "another step has the same authoredName"
            yield Finding("CONTRACT_STEP_REPEATED", name, message)
