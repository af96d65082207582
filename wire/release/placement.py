"""Compares the steps and capabilities of a contract with the artifacts that host them (profile `tpf-2026-10`). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from wire.documents.contract import CONTRACT_NAME, Contract
from wire.documents.descriptor import DESCRIPTOR_NAME, CarrierDescriptor, artifact_field
from wire.documents.json_reader import field_of, shown
from wire.findings import Finding

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
                yield _of_artifact("STEP_UNKNOWN", position, "stepIds", f"the contract has no step {shown(name)}")
        for name in artifact.capabilities:
            if name not in capabilities:
                message = f"the contract does not declare the capability {shown(name)}"
                yield _of_artifact("CAPABILITY_UNKNOWN", position, "capabilities", message)
        hosts.update(artifact.step_ids)
        covered.update(artifact.capabilities)
    for name in steps:
        if name.strip() and hosts[name] != 1:
            code = "STEP_PLACED_TWICE" if hosts[name] else "STEP_NOT_PLACED"
            message = f"{hosts[name] or 'no'} artifacts have the step {shown(name)}; exactly one must have it"
            yield _of_descriptor(code, message)
    for name in capabilities:
        if name not in covered:
            yield _of_descriptor("CAPABILITY_NOT_COVERED", f"no artifact has the capability {shown(name)}")


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


def _of_artifact(code: str, position: int, member: str, message: str) -> Finding:
    return Finding(code, artifact_field(position, member), message)


def _of_descriptor(code: str, message: str) -> Finding:
    return Finding(code, DESCRIPTOR_NAME, message)
