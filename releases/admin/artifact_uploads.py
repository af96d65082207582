"""Direct uploads for the script of the upload page: the API's representation, with the user's session."""

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from foundation.errors import CoordinatorError, InvalidRequest
from releases.api.artifact_uploads import ArtifactUploadRequest, represent
from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from tenancy.access import actor, tenants_of
from tenancy.admin.base import problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope


def begin(request: HttpRequest, slug: str) -> HttpResponse:
    """POST a digest and a size to begin the upload of those bytes, or to resume it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    tenant = _tenant(request, slug)
    body = ArtifactUploadRequest(data={"digest": request.POST.get("digest"), "size": _number(request)})

    def begin_upload() -> ArtifactUpload:
        if not body.is_valid():
            raise InvalidRequest("An upload needs a digest and a size.")
        return direct_uploads.begin(tenant, **body.validated_data, actor=actor(request.user))

    return _respond(begin_upload)


def one(request: HttpRequest, slug: str, upload_id: str) -> HttpResponse:
    """GET returns the upload with its missing parts. POST completes it, which starts its verification."""
    tenant = _tenant(request, slug)

    def find_upload() -> ArtifactUpload:
        upload = direct_uploads.find(tenant, upload_id)
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
