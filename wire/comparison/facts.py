"""What is compared: the facts about one release, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wire.documents.contract import Contract
from wire.documents.descriptor import Descriptor

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
