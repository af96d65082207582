"""What is compared, the facts about a release, and the differences between two releases: plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from wire.documents.contract import Contract
from wire.documents.declarations import Declarations
from wire.documents.descriptor import Descriptor
from wire.documents.json_reader import shown

MAX_DIFFERENCES: Final = 500
"""How many differences a comparison has. Another one says that there are more."""


class Area(StrEnum):
    """What differs. A policy is what a release requests of the coordinator."""

    STEP = "step"
    TYPE = "type"
    CAPABILITY = "capability"
    POLICY = "policy"
    ARTIFACT = "artifact"
    ENVIRONMENT = "environment"
    SIGNATURE = "signature"
    PROVENANCE = "provenance"
    SBOM = "sbom"


class Kind(StrEnum):
    """What happened to it."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"


class Impact(StrEnum):
    """Who is affected when the newer release becomes active, most harmful first.

    Executions stay pinned to their release, so an activation never changes work that exists.
    """

    BREAKING_FOR_CALLERS = "breaking-for-callers"
    """A client of the older release fails: the newer one refuses an input that was accepted, or returns a result that
    the older type does not allow. Clients send the input of the first step and read the result of the last one."""
    BREAKING_FOR_PARKED_WORK = "breaking-for-parked-work"
    """Work that waits at an await or has checkpoints cannot continue on the newer release. It stays on the older one,
    which needs its workers until that work has ended, and its questions keep the older form. A resubmission to the
    newer release may have to start at the first step."""
    UNKNOWN = "unknown"
    """The documents do not say enough, for example because a type has no definition."""
    COMPATIBLE = "compatible"
    """Neither clients nor parked work are affected."""


_SEVERITY: Final = {impact: place for place, impact in enumerate(Impact)}
_AREAS: Final = {area: place for place, area in enumerate(Area)}
BREAKING: Final = frozenset({Impact.BREAKING_FOR_CALLERS, Impact.BREAKING_FOR_PARKED_WORK})


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    `path` is where it is, such as `steps["Validate"].input.lines[].price`. `before` and `after` are short texts, empty
    if there is no value. `reason` is one sentence that explains the impact.
    """

    area: Area
    kind: Kind
    impact: Impact
    path: str
    before: str
    after: str
    reason: str

    @property
    def is_breaking(self) -> bool:
        return self.impact in BREAKING

    def __str__(self) -> str:
        values = f": {self.before or 'none'} -> {self.after or 'none'}" if self.before or self.after else ""
        return f"{self.impact}: {self.kind} {self.path or self.area}{values}. {self.reason}"

    def to_json(self) -> dict[str, str]:
        return {
            "area": self.area.value,
            "kind": self.kind.value,
            "impact": self.impact.value,
            "path": self.path,
            "before": self.before,
            "after": self.after,
            "reason": self.reason,
        }


def changed(area: Area, path: str, values: Iterable[str], reason: str, impact: Impact) -> Difference:
    """Return a difference between two values. Its kind follows from them: an empty one means a missing one."""
    before, after = values
    kind = Kind.ADDED if not before else Kind.REMOVED if not after else Kind.CHANGED
    return Difference(area, kind, impact, path, shown(before), shown(after), reason)


def ordered(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Return the differences, most harmful first, at most MAX_DIFFERENCES and one that says that there are more."""
    distinct = sorted(
        set(differences),
        key=lambda difference: (
            _SEVERITY[difference.impact],
            _AREAS[difference.area],
            difference.path,
            difference.kind,
            difference.before,
            difference.after,
        ),
    )
    if len(distinct) <= MAX_DIFFERENCES:
        return tuple(distinct)
    left = len(distinct) - MAX_DIFFERENCES
    reason = f"{left} more differences are not listed, none of them more harmful than those above."
    # The most harmful one that is not listed decides the impact.
    more = Difference(distinct[-left].area, Kind.CHANGED, distinct[-left].impact, "", "", "", reason)
    return (*distinct[:MAX_DIFFERENCES], more)


def described(differences: Iterable[Difference]) -> str:
    """Return a line for each difference, and a line that counts them by impact."""
    lines = list(differences)
    counts = Counter(line.impact.value for line in lines)
    return "\n".join(
        [*map(str, lines), ", ".join(f"{count} {impact}" for impact, count in counts.items()) or "no differences"]
    )


MAX_PACKAGES: Final = 20_000
"""How many packages of a release are compared. A release with more counts as one whose packages are unknown."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What provenance claims. A member is empty if it says nothing. `commit` is the digest of the source."""

    builder: str = ""
    source: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """One package of an SBOM. `name` is its purl without the version, or else its name."""

    name: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """A release. None means that the facts are not known.

    `environments` has the environments that artifacts require, by artifactId, in the form of
    `RequiredEnvironment.to_json`. `signers` describes who signed. `packages` are those of its SBOMs.
    """

    descriptor: Descriptor
    contract: Contract | None = None
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checkpoints: bool | None = None
    declarations: Declarations | None = None
    signers: Sequence[str] | None = None
    provenance: Sequence[Provenance] | None = None
    packages: Sequence[Package] | None = None


def package_of(name: str, version: str, purl: str = "") -> Package:
    """Return the package of an SBOM's component. The purl decides, if there is one."""
    if not purl.startswith("pkg:"):
        return Package(name, version)
    bare = purl.partition("#")[0].partition("?")[0]
    before, separator, after = bare.rpartition("@")
    # A purl without a version may still have an encoded "@" in its namespace, but no literal one.
    return Package(before, after) if separator and "/" not in after else Package(bare, version)
