"""Compares two releases: what changes for callers and for parked work if the newer one becomes active. Pure.

The coordinator and `pipelines diff` use the same comparison. It reads documents only, and runs no code.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from wire.comparison.contents import artifact_differences, environment_differences
from wire.comparison.differences import Area, Difference, Impact, changed, ordered
from wire.comparison.evidence import evidence_differences
from wire.comparison.facts import ReleaseFacts
from wire.comparison.step_types import type_differences
from wire.comparison.steps import step_differences
from wire.documents.contract import Contract
from wire.documents.json_writer import sorted_text


def compare(before: ReleaseFacts, after: ReleaseFacts) -> tuple[Difference, ...]:
    """Return the differences from the older release to the newer one, most harmful first.

    Equal releases have none. The order is the same each time. There are at most MAX_DIFFERENCES, and one more that says
    that there are others. Never raises.
    """
    return ordered(
        chain(
            _contract_differences(before, after),
            artifact_differences(before, after),
            environment_differences(before, after),
            evidence_differences(before, after),
        )
    )


def _contract_differences(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    old, new = before.contract, after.contract
    if old is not None and new is not None:
        yield from step_differences(old, new)
        yield from type_differences(old, new)
        yield from worker_differences(old, new)
    elif before.descriptor.contract_version != after.descriptor.contract_version or old is not new:
        versions = before.descriptor.contract_version, after.descriptor.contract_version
        reason = "The contract of a release is not known, so its steps and types cannot be compared."
        yield changed(Area.STEP, "contract", versions, reason, Impact.UNKNOWN)


def worker_differences(old: Contract, new: Contract) -> Iterator[Difference]:
    """Yield what workers of the newer release need, and in what form they get values."""
    needs = "Workers of the newer release need it. Clients and parked work do not depend on it."
    protocols = [set(each.capabilities.transition_worker_protocols) for each in (old, new)]
    for name in sorted(protocols[0] ^ protocols[1]):
        texts = (name if name in each else "" for each in protocols)
        yield changed(Area.CAPABILITY, "capabilities.transitionWorkerProtocols", texts, needs, Impact.COMPATIBLE)
    local = [_yes(each.capabilities.local_transition_execution) for each in (old, new)]
    if local[0] != local[1]:
        yield changed(Area.CAPABILITY, "capabilities.localTransitionExecution", local, needs, Impact.COMPATIBLE)
    reason = "It decides how the framework transports values, which the contract does not describe."
    for path, was, now in (
        ("platform", old.platform, new.platform),
        ("transport", old.transport, new.transport),
        ("module", old.module, new.module),
        ("runtimeLayout", old.runtime_layout, new.runtime_layout),
        ("pluginHost", _yes(old.plugin_host), _yes(new.plugin_host)),
    ):
        if (was or "") != (now or ""):
            yield changed(Area.CAPABILITY, path, (was or "", now or ""), reason, Impact.UNKNOWN)
    for path, imports, others in (
        ("importedDefinitions", old.imported_definitions, new.imported_definitions),
        ("capabilityImports", old.capability_imports, new.capability_imports),
    ):
        written = [sorted_text(list(each)) if each else "" for each in (imports, others)]
        if written[0] != written[1]:
            reason = "The contract does not say what the framework does with it."
            yield changed(Area.CAPABILITY, path, written, reason, Impact.UNKNOWN)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
