"""Attaching documents to a stored release, and downloading them."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied, TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_protect

from foundation.errors import CoordinatorError, InvalidRequest
from releases.api.attachments import download
from releases.api.multipart import ReleaseUpload, receive
from releases.models import Release
from releases.registration import attachments
from tenancy.access import actor
from tenancy.admin.base import ReadOnlyAdmin
from tenancy.roles import Scope


def attach(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Attach the files of a POST. Requires the right to upload releases, before any of the body is read."""
    if not pages.may(request, Scope.REGISTER, release):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        with receive(request, actor(request.user)) as received:
            return _protected(request, release, received)
    except TooManyFilesSent as error:
        return _rejected(request, release, InvalidRequest(str(error)))
    except CoordinatorError as error:
        return _rejected(request, release, error)


@csrf_protect
def _protected(request: HttpRequest, release: Release, received: ReleaseUpload) -> HttpResponse:
    _ = request.POST  # parses the body
    if not received.attached:
        raise InvalidRequest("Choose the files to attach.")
    new = attachments.attach(release, received.attached, actor=actor(request.user))
    if new:
        messages.success(request, f"Attached: {', '.join(each.kind for each in new)}.")
    else:
        messages.info(request, "These files are already attached. Nothing changed.")
    return redirect("admin:releases_release_change", release.pk)


def _rejected(request: HttpRequest, release: Release, error: CoordinatorError) -> HttpResponse:
    findings = "; ".join(f"{each['code']}: {each['message']}" for each in error.errors[:5])
    messages.error(request, f"{error.title}. {findings or error.detail}")
    return redirect("admin:releases_release_change", release.pk)


def copy(release: Release, attachment_id: int) -> HttpResponse:
    """Download an attachment of `release`."""
    found = release.attachments.filter(pk=attachment_id).first()
    if found is None:
        raise Http404
    return download(found)
