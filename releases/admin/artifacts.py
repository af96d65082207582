"""The artifacts on the page of a release: where their bytes come from, and their downloads."""

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from releases.api.artifacts import respond
from releases.models import Artifact, Release
from releases.registration.progress import Step
from releases.states import PENDING, Status
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import READ, ReadOnlyAdmin, serves
from tenancy.roles import Scope
from wire.documents.descriptor import ArtifactKind, artifact_field
from wire.findings import Severity

STATES = {Step.FETCHING: "fetching", Step.UNANSWERED: "no answer", Step.CHECKING: "checking"}
VARIANTS = {
    "": "default",
    "waiting": "default",
    "fetching": "info",
    "no answer": "warning",
    "checking": "info",
    "verified": "success",
    "rejected": "danger",
}


class Origin(StrEnum):
    """Where the stored bytes of an artifact come from, or why there are none."""

    UPLOADED = "uploaded"
    RESOLVED = "from a Maven repository"
    """The verification of this release or of an earlier one found them there."""
    ELSEWHERE = "not stored here"
    """An image or endpoint. The coordinator stores the bytes of no artifact of these kinds."""
    IDENTITY_ONLY = "identity only"
    """The release is registered without them, because the pipeline's policy allows it."""
    AWAITED = "not uploaded"
    """The verification may still find them in a repository."""
    MISSING = "missing"
    """The release was rejected."""


def _origin(artifact: Artifact, resolved: Set[str]) -> Origin:
    """`resolved` contains the digests whose bytes were found in a repository."""
    if artifact.blob_id is not None:
        return Origin.RESOLVED if artifact.digest in resolved else Origin.UPLOADED
    if not ArtifactKind(artifact.kind).is_stored:
        return Origin.ELSEWHERE
    if artifact.release.status in PENDING:
        return Origin.AWAITED
    return Origin.MISSING if artifact.release.status == Status.REJECTED else Origin.IDENTITY_ONLY


@dataclass(frozen=True, slots=True)
class Verification:
    """What the verification of a release knows about one artifact. `state` is empty if it says nothing about it."""

    state: str
    findings: list[dict[str, str]]

    @property
    def variant(self) -> str:
        return VARIANTS[self.state]


def _verification(artifact: Artifact) -> Verification:
    """Return what the progress says, or the verdict if there is one: its findings name the artifact that they concern.

    A verification that ended early, at the limit of its time or memory, says nothing about the artifacts after that.
    """
    release, step = artifact.release, artifact.release.progress.get(str(artifact.position), {})
    findings = step.get("findings", [])
    if release.status not in PENDING:
        place = artifact_field(artifact.position)
        findings = [each for each in release.findings if each["field"].startswith(place)]
    if any(each["severity"] == Severity.ERROR for each in findings):
        return Verification("rejected", findings)
    if not ArtifactKind(artifact.kind).is_stored and step.get("step") != Step.UNANSWERED:
        return Verification("", findings)
    if step.get("step") == Step.CHECKED:
        return Verification("verified" if artifact.blob_id is not None else "", findings)
    if release.status not in PENDING:
        return Verification("", findings)
    return Verification(STATES.get(step.get("step"), "waiting"), findings)


def of(release: Release) -> list[Any]:
    """Return the artifacts of the release in order, each with its `origin` and its `verification`."""
    found: list[Any] = list(release.artifacts.select_related("blob").order_by("position"))
    earlier = Artifact.objects.filter(release__pipeline__tenant=release.pipeline.tenant_id, release__lte=release.pk)
    digests = [artifact.digest for artifact in found]
    resolved = set(earlier.filter(resolved=True, digest__in=digests).values_list("digest", flat=True))
    for artifact in found:
        artifact.release = release
        artifact.origin = _origin(artifact, resolved)
        artifact.verification = _verification(artifact)
    return found


@serves(
    "<int:object_id>/artifacts/<int:artifact_id>/",
    Act.ARTIFACT_DOWNLOAD,
    Scope.ARTIFACTS,
    methods=READ,
    reads=True,
)
def copy(pages: ReadOnlyAdmin, request: HttpRequest, release: Release, artifact_id: int) -> HttpResponseBase:
    """Download an artifact of `release`, as the API does. Bytes that cannot be read are a message on its page.

    Artifacts of rejected releases, and those without stored bytes, are not found.
    """
    found = release.artifacts.select_related("blob").filter(pk=artifact_id).exclude(blob=None).first()
    if found is None or release.status == Status.REJECTED:
        raise Http404
    try:
        return respond(request, found, actor=actor(request.user))
    except CoordinatorError as error:
        messages.error(request, f"{error.title}: {error.detail}")
        return redirect("admin:releases_release_change", release.pk)
