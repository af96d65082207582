"""Parses software bills of materials (SBOMs): CycloneDX 1.x and SPDX 2.2 or 2.3, as JSON. Pure.

The components are counted. If an SBOM names its subject by digest, the subject is compared with the artifacts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from wire.comparison.differences import Package, package_of
from wire.documents.descriptor import Descriptor
from wire.documents.json_reader import Dialect, field_of, shown
from wire.documents.shape import ArrayOrNull, Int32, OpenDocument, RequiredText, TextOrEmpty, Texts, shaped
from wire.findings import Finding

NAME = "sbom"
SPDX_VERSIONS = ("SPDX-2.2", "SPDX-2.3")
_SPDX_DOCUMENT = "SPDXRef-DOCUMENT"

_DIALECT = Dialect(
    name=NAME, code="ATTACHMENT", preamble="Not a usable SBOM: ", verbatim=frozenset({"SBOM_FORMAT_UNSUPPORTED"})
)


def _supported(is_supported: Callable[[str], bool], formats: str) -> AfterValidator:
    def check(value: str) -> str:
        if not is_supported(value):
            raise PydanticCustomError("SBOM_FORMAT_UNSUPPORTED", f"Only {formats} is supported")
        return value

    return AfterValidator(check)


# --- CycloneDX ---


class _Hash(OpenDocument):
    alg: TextOrEmpty = ""
    content: TextOrEmpty = ""


class _Component(OpenDocument):
    name: RequiredText
    version: TextOrEmpty = ""
    purl: TextOrEmpty = ""
    hashes: Annotated[tuple[_Hash, ...], ArrayOrNull] = ()
    components: Annotated[tuple[_Component, ...], ArrayOrNull] = ()

    @property
    def digest(self) -> str:
        return next((each.content.lower() for each in self.hashes if each.alg.upper() == "SHA-256"), "")

    @property
    def count(self) -> int:
        return 1 + sum(each.count for each in self.components)


class _CycloneMetadata(OpenDocument):
    component: _Component | None = None


class _CycloneDx(OpenDocument):
    bom_format: Annotated[RequiredText, _supported(lambda value: value == "CycloneDX", "the format CycloneDX")]
    spec_version: Annotated[RequiredText, _supported(lambda value: value.startswith("1."), "CycloneDX 1.x")]
    version: Int32 = 1
    metadata: _CycloneMetadata | None = None
    components: Annotated[tuple[_Component, ...], ArrayOrNull] = ()

    @property
    def format(self) -> str:
        return f"CycloneDX {shown(self.spec_version)}"

    @property
    def count(self) -> int:
        return sum(each.count for each in self.components)

    def contained(self) -> Iterator[Package]:
        """Yield the packages that the SBOM lists, without its subjects. They are unverified claims of the SBOM."""
        waiting = list(reversed(self.components))
        while waiting:
            component = waiting.pop()
            yield package_of(component.name, component.version, component.purl)
            waiting += reversed(component.components)

    def subjects(self) -> Iterator[tuple[str, str, str]]:
        if self.metadata is not None and self.metadata.component is not None:
            component = self.metadata.component
            yield field_of(NAME, ("metadata", "component")), component.name, component.digest


# --- SPDX ---


class _Checksum(OpenDocument):
    algorithm: TextOrEmpty = ""
    checksum_value: TextOrEmpty = ""


class _Reference(OpenDocument):
    reference_type: TextOrEmpty = ""
    reference_locator: TextOrEmpty = ""


class _Package(OpenDocument):
    id: RequiredText = Field(alias="SPDXID")
    name: RequiredText
    version_info: TextOrEmpty = ""
    external_refs: Annotated[tuple[_Reference, ...], ArrayOrNull] = ()
    checksums: Annotated[tuple[_Checksum, ...], ArrayOrNull] = ()

    @property
    def digest(self) -> str:
        return next((each.checksum_value.lower() for each in self.checksums if each.algorithm == "SHA256"), "")

    @property
    def purl(self) -> str:
        return next((each.reference_locator for each in self.external_refs if each.reference_type == "purl"), "")


class _Relationship(OpenDocument):
    element: TextOrEmpty = Field(default="", alias="spdxElementId")
    relationship_type: TextOrEmpty = ""
    related: TextOrEmpty = Field(default="", alias="relatedSpdxElement")


class _Spdx(OpenDocument):
    spdx_version: Annotated[RequiredText, _supported(lambda value: value in SPDX_VERSIONS, " or ".join(SPDX_VERSIONS))]
    id: RequiredText = Field(alias="SPDXID")
    name: RequiredText
    document_describes: Texts = ()
    packages: Annotated[tuple[_Package, ...], ArrayOrNull] = ()
    relationships: Annotated[tuple[_Relationship, ...], ArrayOrNull] = ()

    @property
    def format(self) -> str:
        return self.spdx_version.replace("-", " ")

    @property
    def count(self) -> int:
        return len(self.packages)

    def contained(self) -> Iterator[Package]:
        described = self.described()
        for package in self.packages:
            if package.id not in described:
                yield package_of(package.name, package.version_info, package.purl)

    def described(self) -> set[str]:
        """Return the ids of the packages that the document is about."""
        return set(self.document_describes) | {
            each.related
            for each in self.relationships
            if each.element == _SPDX_DOCUMENT and each.relationship_type == "DESCRIBES"
        }

    def subjects(self) -> Iterator[tuple[str, str, str]]:
        described = self.described()
        for position, package in enumerate(self.packages):
            if package.id in described:
                yield field_of(NAME, ("packages", position)), package.name, package.digest


Bill = _CycloneDx | _Spdx


def is_bill(document: Mapping[str, Any]) -> bool:
    """True if the object claims to be an SBOM of a supported format."""
    return "bomFormat" in document or "spdxVersion" in document


def read_bill(document: Mapping[str, Any]) -> Bill:
    """Parse a JSON object as an SBOM. Raises `DocumentError` with all findings."""
    model: type[_CycloneDx] | type[_Spdx] = _CycloneDx if "bomFormat" in document else _Spdx
    return shaped(model, document, _DIALECT)


def artifact_findings(bill: Bill, descriptor: Descriptor) -> list[Finding]:
    """Return a finding for each subject whose digest no artifact has. Subjects without a digest are ignored."""
    artifacts = {artifact.digest for artifact in descriptor.artifacts}
    return [
        Finding(
            "SBOM_SUBJECT_UNKNOWN",
            field,
            f"The SBOM is about {shown(name)} with the digest {shown('sha256:' + digest)}, "
            "which no artifact of the release has",
        )
        for field, name, digest in bill.subjects()
        if digest and f"sha256:{digest}" not in artifacts
    ]


def summary(bill: Bill) -> dict[str, Any]:
    """Return the members that are displayed. They are unverified claims of the SBOM."""
    subjects = [{"name": shown(name), "digest": shown(digest)} for _, name, digest in bill.subjects()]
    return {"format": bill.format, "components": bill.count, "subjects": subjects[:20]}
