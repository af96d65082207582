"""Parses documents about releases that others write: provenance and software bills of materials (SBOMs). Pure.

Provenance is an in-toto Statement v1 with the predicate SLSA Provenance v1. An SBOM is CycloneDX 1.x, or SPDX 2.2 or
2.3, as JSON. Their subjects are compared with the artifacts of the release. All other members are unverified claims,
which are only displayed.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from wire.comparison.differences import Package, package_of
from wire.documents.descriptor import Descriptor
from wire.documents.execution_statement import STATEMENT_TYPE, one_of
from wire.documents.json_reader import Dialect, field_of, shown
from wire.documents.shape import (
    ArrayOrNull,
    Int32,
    ObjectOrNull,
    OpenDocument,
    RequiredText,
    TextOrEmpty,
    Texts,
    shaped,
)
from wire.findings import Finding, Severity

# --- provenance ---

PREDICATE = "https://slsa.dev/provenance/v1"
PROVENANCE = "provenance"
MATERIALS_SHOWN = 50

_HEX = re.compile(r"[0-9a-f]{64}")
_PROVENANCE_DIALECT = Dialect(
    name=PROVENANCE,
    code="ATTACHMENT",
    preamble="Not a usable provenance statement: ",
    verbatim=frozenset({"PROVENANCE_UNSUPPORTED", "PROVENANCE_NO_SUBJECT"}),
)


class _Resource(OpenDocument):
    name: TextOrEmpty = ""
    uri: TextOrEmpty = ""
    digest: Annotated[dict[str, str], ObjectOrNull] = {}

    @property
    def sha256(self) -> str:
        return self.digest.get("sha256", "")

    @property
    def any_digest(self) -> str:
        return next((f"{algorithm}:{value}" for algorithm, value in self.digest.items()), "")


_Resources = Annotated[tuple[_Resource, ...], ArrayOrNull]


class _Build(OpenDocument):
    build_type: TextOrEmpty = ""
    external_parameters: Annotated[dict[str, Any], ObjectOrNull] = {}
    resolved_dependencies: _Resources = ()

    @property
    def source(self) -> str:
        """The source of the code: the workflow repository of GitHub's builders, or else the first material."""
        workflow = self.external_parameters.get("workflow")
        if isinstance(workflow, dict) and isinstance(workflow.get("repository"), str):
            ref = workflow.get("ref")
            return f"{workflow['repository']}@{ref}" if isinstance(ref, str) else workflow["repository"]
        return self.resolved_dependencies[0].uri if self.resolved_dependencies else ""


class _Builder(OpenDocument):
    id: RequiredText


class _BuildMetadata(OpenDocument):
    invocation_id: TextOrEmpty = ""
    started_on: TextOrEmpty = ""
    finished_on: TextOrEmpty = ""


class _Run(OpenDocument):
    builder: _Builder
    metadata: _BuildMetadata | None = None


class _Predicate(OpenDocument):
    build_definition: _Build
    run_details: _Run


def _not_empty(subjects: tuple[_Resource, ...]) -> tuple[_Resource, ...]:
    if not subjects:
        raise PydanticCustomError("PROVENANCE_NO_SUBJECT", "The statement has no subject")
    return subjects


class Statement(OpenDocument):
    """A statement of the supported type."""

    type_: Annotated[RequiredText, one_of(STATEMENT_TYPE)] = Field(alias="_type")
    predicate_type: Annotated[RequiredText, one_of(PREDICATE)]
    subject: Annotated[_Resources, AfterValidator(_not_empty)] = ()
    predicate: _Predicate

    def findings(self, descriptor: Descriptor) -> Iterator[Finding]:
        """Yield a finding for each subject that is no artifact, and for each stored artifact that is no subject."""
        artifacts = {artifact.digest for artifact in descriptor.artifacts}
        for position, subject in enumerate(self.subject):
            if f"sha256:{subject.sha256}" in artifacts:
                continue
            message = f"has the digest sha256:{subject.sha256}, which no artifact of the release has"
            if not _HEX.fullmatch(subject.sha256):
                message = "has no SHA-256 digest in lower-case hex"
            field = field_of(PROVENANCE, ("subject", position))
            yield Finding("PROVENANCE_SUBJECT_UNKNOWN", field, f"The subject {shown(subject.name)} {message}")
        named = {f"sha256:{subject.sha256}" for subject in self.subject}
        for artifact in descriptor.artifacts:
            if artifact.kind.is_stored and artifact.digest not in named:
                message = f"The provenance does not mention the artifact {shown(artifact.artifact_id)}"
                field = field_of(PROVENANCE, ("subject",))
                yield Finding("PROVENANCE_ARTIFACT_UNCOVERED", field, message, Severity.WARNING)

    def summary(self) -> dict[str, Any]:
        """Return the members that are displayed."""
        build, run = self.predicate.build_definition, self.predicate.run_details
        metadata = run.metadata or _BuildMetadata()
        materials = build.resolved_dependencies
        return {
            "builder": shown(run.builder.id),
            "buildType": shown(build.build_type),
            "source": shown(build.source),
            "invocation": shown(metadata.invocation_id),
            "startedOn": shown(metadata.started_on),
            "finishedOn": shown(metadata.finished_on),
            "subjects": len(self.subject),
            "materialCount": len(materials),
            "materials": [
                {"uri": shown(material.uri or material.name), "digest": shown(material.any_digest)}
                for material in materials[:MATERIALS_SHOWN]
            ],
        }


def read_statement(document: Mapping[str, Any]) -> Statement:
    """Parse a JSON object as a statement. Raises `DocumentError` with all findings."""
    return shaped(Statement, document, _PROVENANCE_DIALECT)


# --- bills of materials ---

SBOM = "sbom"
SUBJECTS_SHOWN = 20
SPDX_VERSIONS = ("SPDX-2.2", "SPDX-2.3")
_SPDX_DOCUMENT = "SPDXRef-DOCUMENT"

_SBOM_DIALECT = Dialect(
    name=SBOM, code="ATTACHMENT", preamble="Not a usable SBOM: ", verbatim=frozenset({"SBOM_FORMAT_UNSUPPORTED"})
)


def _supported(is_supported: Callable[[str], bool], formats: str) -> AfterValidator:
    def check(value: str) -> str:
        if not is_supported(value):
            raise PydanticCustomError("SBOM_FORMAT_UNSUPPORTED", f"Only {formats} is supported")
        return value

    return AfterValidator(check)


class Bill(OpenDocument):
    @property
    @abstractmethod
    def format(self) -> str:
        """The name and the version of the format."""

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of components."""

    @abstractmethod
    def contained(self) -> Iterator[Package]:
        """Yield the packages that the SBOM lists, without its subjects."""

    @abstractmethod
    def subjects(self) -> Iterator[tuple[str, str, str]]:
        """Yield the field, the name and the SHA-256 of what the SBOM is about. The SHA-256 is empty if it has none."""

    def findings(self, descriptor: Descriptor) -> Iterator[Finding]:
        """Yield a finding for each subject whose digest no artifact has. Subjects without a digest are ignored."""
        artifacts = {artifact.digest for artifact in descriptor.artifacts}
        for field, name, digest in self.subjects():
            if digest and f"sha256:{digest}" not in artifacts:
                about = f"The SBOM is about {shown(name)} with the digest {shown('sha256:' + digest)}"
                yield Finding("SBOM_SUBJECT_UNKNOWN", field, f"{about}, which no artifact of the release has")

    def summary(self) -> dict[str, Any]:
        """Return the members that are displayed."""
        subjects = [{"name": shown(name), "digest": shown(digest)} for _, name, digest in self.subjects()]
        return {"format": self.format, "components": self.count, "subjects": subjects[:SUBJECTS_SHOWN]}


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
        return next((hashed.content.lower() for hashed in self.hashes if hashed.alg.upper() == "SHA-256"), "")

    @property
    def count(self) -> int:
        return 1 + sum(component.count for component in self.components)


class _CycloneMetadata(OpenDocument):
    component: _Component | None = None


class _CycloneDx(Bill):
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
        return sum(component.count for component in self.components)

    def contained(self) -> Iterator[Package]:
        waiting = list(reversed(self.components))
        while waiting:
            component = waiting.pop()
            yield package_of(component.name, component.version, component.purl)
            waiting += reversed(component.components)

    def subjects(self) -> Iterator[tuple[str, str, str]]:
        if self.metadata is not None and self.metadata.component is not None:
            component = self.metadata.component
            yield field_of(SBOM, ("metadata", "component")), component.name, component.digest


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
        return next(
            (checksum.checksum_value.lower() for checksum in self.checksums if checksum.algorithm == "SHA256"), ""
        )

    @property
    def purl(self) -> str:
        return next(
            (reference.reference_locator for reference in self.external_refs if reference.reference_type == "purl"), ""
        )


class _Relationship(OpenDocument):
    element: TextOrEmpty = Field(default="", alias="spdxElementId")
    relationship_type: TextOrEmpty = ""
    related: TextOrEmpty = Field(default="", alias="relatedSpdxElement")


class _Spdx(Bill):
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
        described = self._described()
        for package in self.packages:
            if package.id not in described:
                yield package_of(package.name, package.version_info, package.purl)

    def subjects(self) -> Iterator[tuple[str, str, str]]:
        described = self._described()
        for position, package in enumerate(self.packages):
            if package.id in described:
                yield field_of(SBOM, ("packages", position)), package.name, package.digest

    def _described(self) -> set[str]:
        """Return the ids of the packages that the document is about."""
        return set(self.document_describes) | {
            relationship.related
            for relationship in self.relationships
            if relationship.element == _SPDX_DOCUMENT and relationship.relationship_type == "DESCRIBES"
        }


def is_bill(document: Mapping[str, Any]) -> bool:
    """True if the object claims to be an SBOM of a supported format."""
    return "bomFormat" in document or "spdxVersion" in document


def read_bill(document: Mapping[str, Any]) -> Bill:
    """Parse a JSON object as an SBOM. Raises `DocumentError` with all findings."""
    model: type[Bill] = _CycloneDx if "bomFormat" in document else _Spdx
    return shaped(model, document, _SBOM_DIALECT)
