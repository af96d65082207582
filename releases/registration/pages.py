"""The upload page, whose artifacts are streamed into the artifact store, attachments, and artifacts of a release.

Also what the lists of releases, executions and workers share.
"""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from foundation.errors import CoordinatorError, InvalidRequest
from releases.artifacts.api import respond
from releases.artifacts.store import artifact_store
from releases.models import Artifact, ArtifactUpload, Pipeline, Release
from releases.registration import direct_uploads, registrar
from releases.registration.api import ArtifactUploadRequest, represent
from releases.registration.multipart import ReleaseUpload, receive
from releases.registration.progress import Step
from releases.states import PENDING, Status
from releases.trust import attachments
from releases.trust.api import download
from tenancy.access import actor, tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import POST, READ, ReadOnlyAdmin, holds_anywhere, problem_of, serves
from tenancy.console.lists import Person, ScopedFilter, key_in
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents.descriptor import ArtifactKind, artifact_field
from wire.findings import Severity

DIRECT_BYTES = 16 * 1024**2
"""Files of at least this size are uploaded directly to the artifact store, if it supports that."""
CHOICES_SHOWN = 100
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


class PipelineFilter(ScopedFilter):
    """Filters by pipeline id."""

    title = parameter_name = "pipeline"
    lookup = "pipeline__pipeline_id"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        rows = Pipeline.objects.filter(tenant__in=tenants_of(person)).order_by("pipeline_id")
        names = rows.values_list("pipeline_id", flat=True).distinct()
        yield from ((name, name) for name in names[:CHOICES_SHOWN])


class ListWithUpload(ReadOnlyAdmin):
    """A list with a button that uploads a release."""

    change_list_template = "releases/release_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"may_upload": holds_anywhere(request, Scope.REGISTER)}
        return super().changelist_view(request, {**context, **(extra_context or {})})


class TenantForm(forms.Form):
    """The tenant of the release. Its choices are the tenants in which the user may register releases."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), to_field_name="slug", empty_label=None)

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.REGISTER)


@serves("upload/", Act.RELEASE_UPLOAD, Scope.REGISTER)
@csrf_exempt
def upload(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """GET shows the form, POST registers the release.

    It installs its upload handler first, and then `_register` checks the CSRF token, as in `attach`.
    """
    if request.method != "POST":
        return _form(pages, request)
    try:
        with receive(request, actor(request.user)) as received:
            return _register(request, pages, received)
    except TooManyFilesSent as error:
        return _form(pages, request, InvalidRequest(str(error)))
    except CoordinatorError as error:
        return _form(pages, request, error)


@csrf_protect
def _register(request: HttpRequest, pages: ReadOnlyAdmin, received: ReleaseUpload) -> HttpResponse:
    form = TenantForm(request)
    if not form.is_valid():
        raise InvalidRequest("Choose one of the tenants in which you may upload releases.")
    if received.descriptor is None:
        raise InvalidRequest("Choose a release descriptor, the file pipeline-release.json.")
    tenant: Tenant = form.cleaned_data["tenant"]
    registration = registrar.register(
        tenant,
        received.descriptor,
        received.files,
        actor=actor(request.user),
        contract=received.contract or None,
        attached=received.attached,
    )
    release = registration.release
    if not registration.created:
        messages.info(request, f"Release {release} is already registered with the same metadata. Nothing changed.")
    # There is no message about a new release: the page shows its status, which changes while a message would stay.
    address = reverse("admin:releases_release_change", args=[release.pk])
    if request.headers.get("Accept") == "application/json":  # the page's script, which shows the progress
        return JsonResponse({"location": address}, status=201)
    return redirect(address)


def _again(pages: ReadOnlyAdmin, request: HttpRequest) -> Release | None:
    """Return the rejected release that is uploaded again, if the address names one that the user may see."""
    key = key_in(request.GET.get("again", ""))
    rejected: Release | None = (
        pages.get_queryset(request).filter(pk=key, status=Status.REJECTED).first() if key else None
    )
    return rejected


def _form(pages: ReadOnlyAdmin, request: HttpRequest, error: CoordinatorError | None = None) -> HttpResponse:
    # Do not access request.POST here: after an error the body may be partly read.
    return pages.page(
        request,
        "releases/upload.html",
        status=error.status if error else 200,
        title="Upload a release",
        tenants=tenants_of(request.user, Scope.REGISTER),
        again=_again(pages, request),
        direct=reverse("admin:releases_release_upload") + "direct/" if artifact_store().direct else "",
        direct_bytes=DIRECT_BYTES,
        problem=problem_of(error),
    )


# --- direct uploads, for the script of the page: the representation of the API, with the session of the user ---


@serves("upload/direct/<slug:tenant>/", Act.ARTIFACT_UPLOAD_BEGIN, Scope.REGISTER, methods=POST)
def begin_direct(pages: ReadOnlyAdmin, request: HttpRequest, tenant: str) -> HttpResponse:
    """POST a digest and a size to begin the upload of those bytes, or to resume it."""
    owner = _tenant(request, tenant)
    body = ArtifactUploadRequest(data={"digest": request.POST.get("digest"), "size": _number(request)})

    def begin_upload() -> ArtifactUpload:
        if not body.is_valid():
            raise InvalidRequest("An upload needs a digest and a size.")
        return direct_uploads.begin(owner, **body.validated_data, actor=actor(request.user))

    return _respond(begin_upload)


@serves("upload/direct/<slug:tenant>/<str:upload_id>/", Act.ARTIFACT_UPLOAD_COMPLETE, Scope.REGISTER)
def one_direct(pages: ReadOnlyAdmin, request: HttpRequest, tenant: str, upload_id: str) -> HttpResponse:
    """GET returns the upload with its missing parts. POST completes it, which starts its verification."""
    owner = _tenant(request, tenant)

    def find_upload() -> ArtifactUpload:
        upload = direct_uploads.find(owner, upload_id)
        return direct_uploads.complete(upload) if request.method == "POST" else upload

    return _respond(find_upload)


def _number(request: HttpRequest) -> int | None:
    size = request.POST.get("size", "")
    return int(size) if size.isdecimal() and len(size) < 20 else None


def _tenant(request: HttpRequest, slug: str) -> Tenant:
    tenant = tenants_of(request.user, Scope.REGISTER).filter(slug=slug).first()
    if tenant is None:
        if tenants_of(request.user).filter(slug=slug).exists():
            raise PermissionDenied
        raise Http404
    return tenant


def _respond(call: Callable[[], ArtifactUpload]) -> HttpResponse:
    try:
        return JsonResponse(represent(call()), headers={"Cache-Control": "no-store"})
    except CoordinatorError as error:
        return JsonResponse(problem_of(error), status=error.status)


# --- documents that are attached to a stored release ---


@serves("<int:object_id>/attach/", Act.RELEASE_ATTACH, Scope.REGISTER, methods=POST)
@csrf_exempt
def attach(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Attach the files of a POST."""
    try:
        with receive(request, actor(request.user)) as received:
            return _attach(request, release, received)
    except TooManyFilesSent as error:
        return _rejected(request, release, InvalidRequest(str(error)))
    except CoordinatorError as error:
        return _rejected(request, release, error)


@csrf_protect
def _attach(request: HttpRequest, release: Release, received: ReleaseUpload) -> HttpResponse:
    _ = request.POST  # parses the body
    if not received.attached:
        raise InvalidRequest("Choose the files to attach.")
    new = attachments.attach(release, received.attached, actor=actor(request.user))
    if new:
        messages.success(request, f"Attached: {', '.join(attached.kind for attached in new)}.")
    else:
        messages.info(request, "These files are already attached. Nothing changed.")
    return _signatures(release)


def _rejected(request: HttpRequest, release: Release, error: CoordinatorError) -> HttpResponse:
    findings = "; ".join(f"{finding['code']}: {finding['message']}" for finding in error.errors[:5])
    messages.error(request, f"{error.title}. {findings or error.detail}")
    return _signatures(release)


def _signatures(release: Release) -> HttpResponse:
    """Return to the tab with the attachments and the form that attaches files."""
    return redirect(f"{reverse('admin:releases_release_change', args=[release.pk])}?tab=trust")


@serves("<int:object_id>/attachments/<int:attachment_id>/")
def attachment(pages: ReadOnlyAdmin, request: HttpRequest, release: Release, attachment_id: int) -> HttpResponse:
    """Download an attachment of `release`."""
    attached = release.attachments.filter(pk=attachment_id).first()
    if attached is None:
        raise Http404
    return download(attached)


# --- the artifacts of a release ---


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


@dataclass(frozen=True, slots=True)
class ShownArtifact:
    """An artifact, where its bytes come from, and what the verification of its release knows about it.

    `state` is empty if the verification says nothing about it.
    """

    artifact: Artifact
    origin: Origin
    state: str
    findings: list[dict[str, str]]

    @property
    def variant(self) -> str:
        return VARIANTS[self.state]


def artifacts_of(release: Release) -> list[ShownArtifact]:
    """Return the artifacts of the release in order."""
    artifacts = list(release.artifacts.select_related("blob").order_by("position"))
    earlier = Artifact.objects.filter(release__pipeline__tenant=release.pipeline.tenant_id, release__lte=release.pk)
    digests = [artifact.digest for artifact in artifacts]
    resolved = set(earlier.filter(resolved=True, digest__in=digests).values_list("digest", flat=True))
    return [
        ShownArtifact(artifact, _origin(release, artifact, resolved), *_verification(release, artifact))
        for artifact in artifacts
    ]


def _origin(release: Release, artifact: Artifact, resolved: Set[str]) -> Origin:
    """`resolved` contains the digests whose bytes were found in a repository."""
    if artifact.blob_id is not None:
        return Origin.RESOLVED if artifact.digest in resolved else Origin.UPLOADED
    if not ArtifactKind(artifact.kind).is_stored:
        return Origin.ELSEWHERE
    if release.status in PENDING:
        return Origin.AWAITED
    return Origin.MISSING if release.status == Status.REJECTED else Origin.IDENTITY_ONLY


def _verification(release: Release, artifact: Artifact) -> tuple[str, list[dict[str, str]]]:
    """Return the state and the findings: of the progress, or of the verdict if there is one.

    A verification that ended early, at the limit of its time or memory, says nothing about the artifacts after that.
    """
    step = release.progress.get(str(artifact.position), {})
    findings = step.get("findings", [])
    if release.status not in PENDING:
        place = artifact_field(artifact.position)
        findings = [finding for finding in release.findings if finding["field"].startswith(place)]
    if any(finding["severity"] == Severity.ERROR for finding in findings):
        return "rejected", findings
    if not ArtifactKind(artifact.kind).is_stored and step.get("step") != Step.UNANSWERED:
        return "", findings
    if step.get("step") == Step.CHECKED:
        return "verified" if artifact.blob_id is not None else "", findings
    if release.status not in PENDING:
        return "", findings
    return STATES.get(step.get("step"), "waiting"), findings


@serves(
    "<int:object_id>/artifacts/<int:artifact_id>/",
    Act.ARTIFACT_DOWNLOAD,
    Scope.ARTIFACTS,
    methods=READ,
    reads=True,
)
def artifact(pages: ReadOnlyAdmin, request: HttpRequest, release: Release, artifact_id: int) -> HttpResponseBase:
    """Download an artifact of `release`, as the API does. Bytes that cannot be read are a message on its page.

    Artifacts of rejected releases, and those without stored bytes, are not found.
    """
    stored = release.artifacts.select_related("blob").filter(pk=artifact_id).exclude(blob=None).first()
    if stored is None or release.status == Status.REJECTED:
        raise Http404
    try:
        return respond(request, stored, actor=actor(request.user))
    except CoordinatorError as error:
        messages.error(request, f"{error.title}: {error.detail}")
        return redirect("admin:releases_release_change", release.pk)
