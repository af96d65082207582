"""The rules that a release descriptor must follow before its artifacts are read.

This is a second opinion for tests. It shares no code with the product.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tests.parts.clients.tpf_client import strict_json
from tests.parts.clients.tpf_client.failures import BadRelease

CARRIERS = {"jar", "application-archive", "lambda-zip", "compiled-truth"}
IMAGES = {"container-image", "lambda-image"}
TRUTH = "compiled-truth"
KINDS = CARRIERS | IMAGES | {"native-binary"}
_TEXTS = ("pipelineId", "contractVersion", "releaseVersion", "compiledTruthArtifactId")
_ARTIFACT_TEXTS = ("artifactId", "kind", "uri", "digest")
_ID = re.compile(r"[A-Za-z0-9_.-]+")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_OCI = re.compile(
    r"oci://(?P<registry>[A-Za-z0-9._:-]+)/(?P<repository>[A-Za-z0-9._~/-]+)@(?P<digest>sha256:[0-9a-f]{64})"
)
_TOKEN = r"[A-Za-z0-9_.-]+"
_MAVEN = re.compile(
    rf"maven:(?P<group>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*):(?P<artifact>{_TOKEN})"
    rf"(?::(?P<extension>{_TOKEN})(?::(?P<classifier>{_TOKEN}))?)?:(?P<version>[A-Za-z0-9_.+~-]+)"
)
_UNESCAPED = "/!$&'()*+,-.:;=@_~"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an artifact is: an absolute path, a path in Maven repositories, or an image in a registry."""

    scheme: str
    path: str
    registry: str = ""
    promotable: bool = True


@dataclass(frozen=True, slots=True)
class Artifact:
    artifact_id: str
    kind: str
    digest: str
    location: Location
    step_ids: tuple[str, ...]
    capabilities: tuple[str, ...]

    @property
    def deployable(self) -> bool:
        return self.kind != TRUTH


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor that follows the rules, and its exact bytes."""

    data: bytes
    pipeline_id: str
    contract_version: str
    release_version: str
    carrier: Artifact
    artifacts: tuple[Artifact, ...]

    @property
    def digest(self) -> str:
        return f"sha256:{sha256(self.data).hexdigest()}"

    @property
    def promotable(self) -> bool:
        """True if another machine can resolve the artifacts, and they never change."""
        return all(artifact.location.promotable for artifact in self.artifacts)


def parse(data: bytes) -> Descriptor:
    """Return the descriptor. Raises `BadRelease`."""
    try:
        document = strict_json.read(data)
    except ValueError as error:
        raise BadRelease("members", str(error)) from None
    texts = _texts("the descriptor", document, _TEXTS, ("schemaVersion", "artifacts"))
    if type(document.get("schemaVersion")) is not int or document["schemaVersion"] != 1:
        raise BadRelease("members", "schemaVersion must be 1")
    listed = document.get("artifacts")
    if not isinstance(listed, list) or not listed:
        raise BadRelease("members", "artifacts must be a non-empty array")
    artifacts = tuple(_artifact(each) for each in listed)
    by_id = {artifact.artifact_id: artifact for artifact in artifacts}
    if len(by_id) < len(artifacts):
        raise BadRelease("members", "an artifactId occurs twice")
    carrier = by_id.get(texts["compiledTruthArtifactId"])
    if carrier is None or carrier.kind not in CARRIERS:
        raise BadRelease("rule 1", "compiledTruthArtifactId must name an artifact that can carry the contract")
    return Descriptor(data, texts["pipelineId"], texts["contractVersion"], texts["releaseVersion"], carrier, artifacts)


def _texts(what: str, document: Any, required: tuple[str, ...], more: tuple[str, ...]) -> dict[str, str]:
    """Return the required texts of an object that has no members but these and `more`."""
    if not isinstance(document, dict):
        raise BadRelease("members", f"{what} must be an object")
    if unknown := document.keys() - {*required, *more}:
        raise BadRelease("members", f"{what} has unknown members {sorted(unknown)}")
    texts: dict[str, str] = {}
    for name in required:
        value = document.get(name)
        if not isinstance(value, str) or not value.strip():
            raise BadRelease("members", f"{name} must be a text")
        texts[name] = value
    return texts


def _artifact(document: Any) -> Artifact:
    texts = _texts("an artifact", document, _ARTIFACT_TEXTS, ("stepIds", "capabilities"))
    if not _ID.fullmatch(texts["artifactId"]):
        raise BadRelease("members", "an artifactId has other characters than letters, digits, '_', '.' and '-'")
    if texts["kind"] not in KINDS:
        raise BadRelease("members", f"there is no kind {texts['kind']}")
    if not _DIGEST.fullmatch(texts["digest"]):
        raise BadRelease("members", "a digest must be sha256: and 64 lowercase hexadecimal digits")
    step_ids, capabilities = (_names(document, name) for name in ("stepIds", "capabilities"))
    if texts["kind"] == TRUTH and (step_ids or capabilities):
        raise BadRelease("members", f"a {TRUTH} artifact has neither stepIds nor capabilities")
    location = locate(texts["uri"])
    if (texts["kind"] in IMAGES) != (location.scheme == "oci"):
        raise BadRelease("rule 2", "images, and only images, have oci: URIs")
    if location.scheme == "oci" and not location.path.endswith(f"/{texts['digest']}"):
        raise BadRelease("rule 2", "the digest in an oci: URI must be the digest of the artifact")
    return Artifact(texts["artifactId"], texts["kind"], texts["digest"], location, step_ids, capabilities)


def _names(document: dict[str, Any], member: str) -> tuple[str, ...]:
    values = document.get(member)
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
        raise BadRelease("members", f"{member} must be an array of texts")
    if len({value.strip() for value in values}) < len(values):
        raise BadRelease("members", f"{member} has a text twice")
    return tuple(values)


def locate(uri: str) -> Location:
    """Return the location that a canonical URI names. Raises `BadRelease`."""
    scheme = uri.partition(":")[0]
    if scheme not in _LOCATE:
        raise BadRelease("rule 2", "a URI must begin with file:, maven: or oci:")
    return _LOCATE[scheme](uri)


def _file(uri: str) -> Location:
    path = unquote_to_bytes(uri.removeprefix("file://")) if uri.isascii() else b""
    segments = path.split(b"/")[1:]
    normalised = path.startswith(b"/") and (segments == [b""] or not {b"", b".", b".."} & set(segments))
    if not normalised or b"\0" in path or uri != f"file://{quote_from_bytes(path, safe=_UNESCAPED)}":
        raise BadRelease("rule 3", "a file: URI must be absolute and canonical, without query and fragment")
    return Location("file", path.decode(errors="surrogateescape"), promotable=False)


def _maven(uri: str) -> Location:
    found = _MAVEN.fullmatch(uri)
    if found is None or (found["extension"] == "jar" and not found["classifier"]):
        raise BadRelease("rule 4", "a maven: URI must be canonical coordinates")
    group, artifact, version = found["group"].replace(".", "/"), found["artifact"], found["version"]
    classifier = f"-{found['classifier']}" if found["classifier"] else ""
    name = f"{artifact}-{version}{classifier}.{found['extension'] or 'jar'}"
    promotable = not version.upper().endswith("-SNAPSHOT")
    return Location("maven", f"{group}/{artifact}/{version}/{name}", promotable=promotable)


def _oci(uri: str) -> Location:
    found = _OCI.fullmatch(uri)
    if found is None:
        raise BadRelease("rule 2", "an oci: URI must be oci://registry/repository@sha256:digest")
    return Location("oci", f"/v2/{found['repository']}/manifests/{found['digest']}", found["registry"])


_LOCATE: dict[str, Callable[[str], Location]] = {"file": _file, "maven": _maven, "oci": _oci}
