"""Compares two releases: what changes for callers and for parked work if the newer one becomes active. Pure.

The coordinator and `pipelines diff` use the same comparison. It reads documents only, and runs no code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from wire.comparison.declarations import declaration_differences
from wire.comparison.differences import (
    MAX_PACKAGES,
    Area,
    Difference,
    Impact,
    Kind,
    Package,
    Provenance,
    ReleaseFacts,
    changed,
    ordered,
)
from wire.comparison.steps import step_differences, step_path, stored_differences, type_differences
from wire.documents.contract import Contract, Step
from wire.documents.descriptor import CHECKPOINTS, ArtifactRef, CarrierDescriptor, Descriptor
from wire.documents.json_reader import quoted
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
            declaration_differences(before, after),
            evidence_differences(before, after),
        )
    )


def compare_contracts(old: Contract, new: Contract) -> tuple[Difference, ...]:
    """Return the differences that are those of two contracts, as ``compare`` does."""
    return ordered(chain(step_differences(old, new), type_differences(old, new), worker_differences(old, new)))


def _contract_differences(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    old, new = before.contract, after.contract
    if old is not None and new is not None:
        yield from compare_contracts(old, new)
    elif before.descriptor.contract_version != after.descriptor.contract_version or old is not new:
        versions = before.descriptor.contract_version, after.descriptor.contract_version
        reason = "The contract of a release is not known, so its steps and types cannot be compared."
        yield changed(Area.STEP, "contract", versions, reason, Impact.UNKNOWN)


def worker_differences(old: Contract, new: Contract) -> Iterator[Difference]:
    """Yield what workers of the newer release need, and in what form they get values."""
    protocols = [set(facts.capabilities.transition_worker_protocols) for facts in (old, new)]
    for name in sorted(protocols[0] ^ protocols[1]):
        texts = (name if name in side else "" for side in protocols)
        yield changed(Area.CAPABILITY, "capabilities.transitionWorkerProtocols", texts, _WORKERS, Impact.COMPATIBLE)
    local = [_yes(facts.capabilities.local_transition_execution) for facts in (old, new)]
    if local[0] != local[1]:
        yield changed(Area.CAPABILITY, "capabilities.localTransitionExecution", local, _WORKERS, Impact.COMPATIBLE)
    reason = "It decides how workers transport values, which the contract does not describe."
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
        written = [sorted_text(list(side)) if side else "" for side in (imports, others)]
        if written[0] != written[1]:
            reason = "The contract does not say what workers do with it."
            yield changed(Area.CAPABILITY, path, written, reason, Impact.UNKNOWN)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


_CODE: Final = "The code differs. The contract says what clients and parked work see of it."
_PLACE: Final = "It says where the same bytes are or run, which clients and parked work do not see."
_WORKERS: Final = "Workers of the newer release need it. Clients and parked work do not depend on it."
_REQUESTED: Final = "It applies to executions of the newer release only."
_NOT_DESCRIBED: Final = "One of the artifacts does not say which environment it requires."
_INTERPRETER: Final = ("implementation", "version", "platform")


def artifact_differences(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    """Yield the differences between descriptors. An artifact is identified by its artifactId."""
    old, new = before.descriptor, after.descriptor
    if old.profile is not new.profile:
        yield changed(Area.ARTIFACT, "profile", (old.profile, new.profile), _PLACE, Impact.COMPATIBLE)
    carriers = _carrier(old), _carrier(new)
    if carriers[0] != carriers[1]:
        yield changed(Area.ARTIFACT, "compiledTruthArtifactId", carriers, _PLACE, Impact.COMPATIBLE)
    olds, news = artifacts_by_id(old), artifacts_by_id(new)
    for name in sorted(olds.keys() | news.keys()):
        path = f"artifacts[{quoted(name)}]"
        if name in olds and name in news:
            yield from _artifact(path, olds[name], news[name])
        else:
            texts = (f"{side[name].kind} {side[name].digest}" if name in side else "" for side in (olds, news))
            yield changed(Area.ARTIFACT, path, texts, _CODE, Impact.COMPATIBLE)
    yield from _checkpoints(before, after)


def artifacts_by_id(descriptor: Descriptor) -> dict[str, ArtifactRef]:
    """Return the artifacts by artifactId. In the older profile it may be repeated; then the place is part of it."""
    named: dict[str, ArtifactRef] = {}
    for place, artifact in enumerate(descriptor.artifacts):
        name = artifact.artifact_id
        named[name if name not in named else f"{name} ({place})"] = artifact
    return named


def environment_differences(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    """Yield the differences between the environments of artifacts of both releases."""
    kept = artifacts_by_id(before.descriptor).keys() & artifacts_by_id(after.descriptor).keys()
    for name in sorted(kept):
        path = f"environments[{quoted(name)}]"
        old, new = before.environments.get(name), after.environments.get(name)
        if old is not None and new is not None:
            yield from _environment(path, old, new)
        elif old is not new:
            texts = ("described" if side is not None else "" for side in (old, new))
            yield changed(Area.ENVIRONMENT, path, texts, _NOT_DESCRIBED, Impact.UNKNOWN)


def _artifact(path: str, old: ArtifactRef, new: ArtifactRef) -> Iterator[Difference]:
    for member, was, now, reason in (
        ("digest", old.digest, new.digest, _CODE),
        ("kind", old.kind.value, new.kind.value, _PLACE),
        ("uri", old.uri, new.uri, _PLACE),
        ("stepIds", ", ".join(old.step_ids), ", ".join(new.step_ids), _PLACE),
    ):
        if was != now:
            yield changed(Area.ARTIFACT, f"{path}.{member}", (was, now), reason, Impact.COMPATIBLE)
    for name in sorted(set(old.capabilities) ^ set(new.capabilities)):
        texts = (name if name in facts.capabilities else "" for facts in (old, new))
        area, reason = (Area.POLICY, _REQUESTED) if name == CHECKPOINTS else (Area.CAPABILITY, _WORKERS)
        yield changed(area, f"{path}.capabilities", texts, reason, Impact.COMPATIBLE)


def _checkpoints(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    if None not in (before.checkpoints, after.checkpoints) and before.checkpoints is not after.checkpoints:
        texts = ("after each step" if contract.checkpoints else "" for contract in (before, after))
        yield changed(Area.POLICY, "checkpoints", texts, _REQUESTED, Impact.COMPATIBLE)


def _carrier(descriptor: Descriptor) -> str:
    return descriptor.compiled_truth_artifact_id if isinstance(descriptor, CarrierDescriptor) else ""


def _environment(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for member in _INTERPRETER:
        texts = str(old.get(member, "")), str(new.get(member, ""))
        if texts[0] != texts[1]:
            yield changed(Area.ENVIRONMENT, f"{path}.{member}", texts, _WORKERS, Impact.COMPATIBLE)
    olds, news = _distributions(old.get("distributions", ())), _distributions(new.get("distributions", ()))
    for name in sorted(olds.keys() | news.keys()):
        if olds.get(name) != news.get(name):
            here = f"{path}.distributions[{quoted(name)}]"
            versions = olds.get(name, ""), news.get(name, "")
            yield changed(Area.ENVIRONMENT, here, versions, _WORKERS, Impact.COMPATIBLE)


def _distributions(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the versions by name. A distribution that is locked by a URL has none."""
    return {row["name"]: row["version"] or "from a URL" for row in rows}


_SIGNATURE: Final = "A signature says who vouches for a release, and changes nothing that it does."
_UNSIGNED: Final = "The newer release is unsigned."
_CLAIM: Final = "It says where the code comes from. What clients and parked work see is in the contract."
_NO_PROVENANCE: Final = "One of the releases does not say where its code comes from."
_NO_SBOM: Final = "The packages of one of the releases are not known."
_PACKAGE: Final = "Clients and parked work do not depend on the packages of a release."


def evidence_differences(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    """Yield the differences of what is known about both releases, and of what is known about one only."""
    yield from _signatures(before.signers, after.signers)
    yield from _provenance(before.provenance, after.provenance)
    yield from _packages(before.packages, after.packages)


def _signatures(old: Sequence[str] | None, new: Sequence[str] | None) -> Iterator[Difference]:
    if old is None or new is None:
        return
    for name in sorted(set(old) ^ set(new)):
        texts = (name if name in side else "" for side in (old, new))
        if new:
            yield changed(Area.SIGNATURE, "signatures", texts, _SIGNATURE, Impact.COMPATIBLE)
        else:
            yield changed(Area.SIGNATURE, "signatures", texts, _UNSIGNED, Impact.UNKNOWN)


def _provenance(old: Sequence[Provenance] | None, new: Sequence[Provenance] | None) -> Iterator[Difference]:
    if not old and not new:
        return
    impact, reason = (Impact.COMPATIBLE, _CLAIM) if old and new else (Impact.UNKNOWN, _NO_PROVENANCE)
    for member in ("builder", "source", "commit"):
        texts = [", ".join(sorted({getattr(record, member) for record in every or ()} - {""})) for every in (old, new)]
        if texts[0] != texts[1]:
            yield changed(Area.PROVENANCE, f"provenance.{member}", texts, reason, impact)


def _packages(old: Sequence[Package] | None, new: Sequence[Package] | None) -> Iterator[Difference]:
    known = [None if packages is None or len(packages) > MAX_PACKAGES else packages for packages in (old, new)]
    if known[0] is None or known[1] is None:
        if old is not None or new is not None:
            texts = ("known" if side is not None else "not known" for side in known)
            yield changed(Area.SBOM, "packages", texts, _NO_SBOM, Impact.UNKNOWN)
        return
    olds, news = _versions(known[0]), _versions(known[1])
    for name in sorted(olds.keys() | news.keys()):
        if olds.get(name) != news.get(name):
            texts = (", ".join(sorted(side[name])) if name in side else "" for side in (olds, news))
            yield changed(Area.SBOM, f"packages[{quoted(name)}]", texts, _PACKAGE, Impact.COMPATIBLE)


def _versions(packages: Sequence[Package]) -> dict[str, set[str]]:
    """Return the versions of each package. A package may be there in several versions."""
    versions: dict[str, set[str]] = {}
    for package in packages:
        versions.setdefault(package.name, set()).add(package.version or "no version")
    return versions


_UNNAMED: Final = "A step is identified by its name, and this one has none or shares it with another step."
_NO_STEP: Final = "The contract has no step at the place of the checkpoint."


def checkpoint_differences(before: Contract, after: Contract, step_index: int) -> tuple[Difference, ...]:
    """Return why values that were stored before step `step_index` of `before` may not continue at that step of `after`.

    None means that it is proven that they can. Equal contracts have no differences. `step_index` may be the number of
    steps: then no step is left on the older release. Never raises.
    """
    if before == after:
        return ()
    if not before.steps or step_index > len(before.steps):
        return (_unknown("steps", _NO_STEP),)
    old, new = (contract.model_copy(update={"steps": contract.steps[: step_index + 1]}) for contract in (before, after))
    differences = ordered(
        difference
        for difference in chain(_unnamed(old.steps), step_differences(old, new), worker_differences(old, new))
        if difference.impact is not Impact.COMPATIBLE
    )
    return differences or ordered(_of_values(before, after, step_index))


def taken_type(contract: Contract, step_index: int) -> str | None:
    """Return the type of the value with which a contract continues at a step; after the last one, of its result."""
    if step_index < len(contract.steps):
        return contract.steps[step_index].input_type_id
    return contract.steps[-1].output_type_id if contract.steps else None


def _of_values(before: Contract, after: Contract, step_index: int) -> Iterator[Difference]:
    stored = before.steps[step_index - 1].output_type_id if step_index else before.steps[0].input_type_id
    if step_index < len(before.steps) and before.steps[step_index].takes_request:
        stored = before.steps[step_index].input_type_id
    taken = taken_type(after, step_index)
    for difference in stored_differences("checkpoint", (before, stored), (after, taken)):
        if difference.impact is not Impact.COMPATIBLE:
            yield difference


def _unnamed(steps: Sequence[Step]) -> Iterator[Difference]:
    names = Counter(step.authored_name for step in steps)
    for place, step in enumerate(steps, start=1):
        if not step.authored_name or names[step.authored_name] > 1:
            yield _unknown(step_path(step.authored_name or f"step {place}"), _UNNAMED)


def _unknown(path: str, reason: str) -> Difference:
    return Difference(Area.STEP, Kind.CHANGED, Impact.UNKNOWN, path, "", "", reason)
