"""Attaching to a release that is there already, and taking a copy of what is attached."""

from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import PermissionDenied, TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_protect

from foundation.errors import CoordinatorError, InvalidRequest
from releases.models import Release
from releases.registration import attachments
from releases.registration.downloads import download
from releases.registration.uploads import ReleaseUpload, receiving
from tenancy.access import actor
from tenancy.roles import Scope

if TYPE_CHECKING:
    from releases.admin.releases import ReleaseAdmin


def attach(pages: "ReleaseAdmin", request: HttpRequest, release: Release) -> HttpResponse:
    """Whoever may upload releases may attach. Nobody else gets a byte of the body read."""
    if not pages.may(request, Scope.REGISTER, release):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        with receiving(request, actor(request.user)) as received:
            return _protected(request, release, received)
    except TooManyFilesSent as error:
        return _refused(request, release, InvalidRequest(str(error)))
    except CoordinatorError as error:
        return _refused(request, release, error)


@csrf_protect
def _protected(request: HttpRequest, release: Release, received: ReleaseUpload) -> HttpResponse:
    _ = request.POST
    if not received.attached:
        raise InvalidRequest("Choose the files to attach.")
    made = attachments.attach(release, received.attached, actor=actor(request.user))
    if made:
        messages.success(request, f"Attached: {', '.join(each.kind for each in made)}.")
    else:
        messages.info(request, "The release has all of this already. Nothing changed.")
    return redirect("admin:releases_release_change", release.pk)


def _refused(request: HttpRequest, release: Release, error: CoordinatorError) -> HttpResponse:
    told = "; ".join(f"{each['code']}: {each['message']}" for each in error.errors[:5]) or error.detail
    messages.error(request, f"{error.title}. {told}")
    return redirect("admin:releases_release_change", release.pk)


def copy(release: Release, attachment_id: int) -> HttpResponse:
    """The bytes of an attachment of `release`."""
    found = release.attachments.filter(pk=attachment_id).first()
    if found is None:
        raise Http404
    return download(found)
