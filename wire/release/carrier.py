"""The rules of the profile `tpf-2026-10` about the carrier of a contract and the places of its steps. Pure.

The carrier has the complete folder `META-INF/pipeline/`, and its contract is that of the release. Every other archive
with entries in that folder must have the same ones. Nested archives are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from wire.documents.contract import CONTRACT_ENTRY, CONTRACT_NAME, Contract
from wire.documents.descriptor import DESCRIPTOR_NAME, ArtifactKind, CarrierDescriptor, artifact_field
from wire.documents.json_reader import field_of, shown
from wire.findings import Finding
from wire.release.content import COMPILED_TRUTH, Content

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
