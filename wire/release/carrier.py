"""Compares the archives of a release with its carrier, by the rules of the profile `tpf-2026-10`. Pure.

The carrier has the complete folder `META-INF/pipeline/`, and its contract is that of the release. Every other archive
with entries in that folder must have the same ones. Nested archives are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.descriptor import ArtifactKind, CarrierDescriptor, artifact_field
from wire.documents.json_reader import shown
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


def _finding(code: str, position: int, message: str) -> Finding:
    return Finding(code, artifact_field(position), message)
