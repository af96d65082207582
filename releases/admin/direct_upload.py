"""What the upload page's script asks: direct uploads, as the API has them, for a person with a session."""

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from foundation.errors import CoordinatorError, InvalidRequest
from releases.api.uploads import ArtifactUploadRequest, shown
from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from tenancy.access import actor, tenants_of
from tenancy.admin.base import problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope


def begin(request: HttpRequest, slug: str) -> HttpResponse:
    """POST of digest and size: the upload of those bytes, new or gone on with."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    tenant = _tenant(request, slug)
    asked = ArtifactUploadRequest(data={"digest": request.POST.get("digest"), "size": _number(request)})

    def made() -> ArtifactUpload:
        if not asked.is_valid():
            raise InvalidRequest("An upload needs a digest and a size.")
        return direct_uploads.begin(tenant, **asked.validated_data, actor=actor(request.user))

    return _answer(made)


def one(request: HttpRequest, slug: str, upload_id: str) -> HttpResponse:
    """GET: the upload with what is missing. POST: have it verified."""
    tenant = _tenant(request, slug)

    def found() -> ArtifactUpload:
        upload = direct_uploads.find(tenant, upload_id)
        return direct_uploads.complete(upload) if request.method == "POST" else upload

    return _answer(found)


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


def _answer(call: Callable[[], ArtifactUpload]) -> HttpResponse:
    try:
        return JsonResponse(shown(call()), headers={"Cache-Control": "no-store"})
    except CoordinatorError as error:
        return JsonResponse(problem_of(error), status=error.status)
