"""Downloads of the artifacts of a release."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from releases.api.artifacts import respond
from releases.models import Release
from releases.states import Status
from tenancy.access import actor
from tenancy.admin.base import ReadOnlyAdmin
from tenancy.roles import Scope


def copy(pages: ReadOnlyAdmin, request: HttpRequest, release: Release, artifact_id: int) -> HttpResponseBase:
    """Download an artifact of `release`, as the API does. Bytes that cannot be read are a message on its page.

    Artifacts of rejected releases, and those without stored bytes, are not found.
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not pages.may(request, Scope.ARTIFACTS, release):
        raise PermissionDenied
    found = release.artifacts.select_related("blob").filter(pk=artifact_id).exclude(blob=None).first()
    if found is None or release.status == Status.REJECTED:
        raise Http404
    try:
        return respond(request, found, actor=actor(request.user))
    except CoordinatorError as error:
        messages.error(request, f"{error.title}: {error.detail}")
        return redirect("admin:releases_release_change", release.pk)
