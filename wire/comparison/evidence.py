"""Compares what others say about releases: signatures, provenance and SBOMs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from wire.comparison.differences import Area, Difference, Impact, changed
from wire.comparison.facts import MAX_PACKAGES, Package, Provenance, ReleaseFacts
from wire.documents.json_reader import quoted

_SIGNATURE: Final = "A signature says who vouches for a release, and changes nothing that it does."
_UNSIGNED: Final = "No key vouches for the newer release."
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
        texts = (name if name in each else "" for each in (old, new))
        if new:
            yield changed(Area.SIGNATURE, "signatures", texts, _SIGNATURE, Impact.COMPATIBLE)
        else:
            yield changed(Area.SIGNATURE, "signatures", texts, _UNSIGNED, Impact.UNKNOWN)


def _provenance(old: Sequence[Provenance] | None, new: Sequence[Provenance] | None) -> Iterator[Difference]:
    if not old and not new:
        return
    impact, reason = (Impact.COMPATIBLE, _CLAIM) if old and new else (Impact.UNKNOWN, _NO_PROVENANCE)
    for member in ("builder", "source", "commit"):
        texts = [", ".join(sorted({getattr(each, member) for each in every or ()} - {""})) for every in (old, new)]
        if texts[0] != texts[1]:
            yield changed(Area.PROVENANCE, f"provenance.{member}", texts, reason, impact)


def _packages(old: Sequence[Package] | None, new: Sequence[Package] | None) -> Iterator[Difference]:
    known = [None if each is None or len(each) > MAX_PACKAGES else each for each in (old, new)]
    if known[0] is None or known[1] is None:
        if old is not None or new is not None:
            texts = ("known" if each is not None else "not known" for each in known)
            yield changed(Area.SBOM, "packages", texts, _NO_SBOM, Impact.UNKNOWN)
        return
    olds, news = _versions(known[0]), _versions(known[1])
    for name in sorted(olds.keys() | news.keys()):
        if olds.get(name) != news.get(name):
            texts = (", ".join(sorted(each[name])) if name in each else "" for each in (olds, news))
            yield changed(Area.SBOM, f"packages[{quoted(name)}]", texts, _PACKAGE, Impact.COMPATIBLE)


def _versions(packages: Sequence[Package]) -> dict[str, set[str]]:
    """Return the versions of each package. A package may be there in several versions."""
    found: dict[str, set[str]] = {}
    for package in packages:
        found.setdefault(package.name, set()).add(package.version or "no version")
    return found
