"""Compares what releases pin: their artifacts, and the environments that these require. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from wire.comparison.differences import Area, Difference, Impact, changed
from wire.comparison.facts import ReleaseFacts
from wire.documents.descriptor import CHECKPOINTS, ArtifactRef, CarrierDescriptor, Descriptor
from wire.documents.json_reader import quoted

_CODE: Final = "The code differs. What clients and parked work see of it is in the contract."
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
            texts = (f"{each[name].kind} {each[name].digest}" if name in each else "" for each in (olds, news))
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
            texts = ("described" if each is not None else "" for each in (old, new))
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
        texts = (name if name in each.capabilities else "" for each in (old, new))
        area, reason = (Area.POLICY, _REQUESTED) if name == CHECKPOINTS else (Area.CAPABILITY, _WORKERS)
        yield changed(area, f"{path}.capabilities", texts, reason, Impact.COMPATIBLE)


def _checkpoints(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    if None not in (before.checkpoints, after.checkpoints) and before.checkpoints is not after.checkpoints:
        texts = ("after each step" if each.checkpoints else "" for each in (before, after))
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
