"""The upload page: a release descriptor with its artifacts, which are streamed into the artifact store."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, TooManyFilesSent
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_protect

from foundation.errors import CoordinatorError, InvalidRequest
from releases.api.multipart import ReleaseUpload, receive
from releases.artifacts.store import artifact_store
from releases.models import Release
from releases.registration import registrar
from releases.states import Status
from tenancy.access import actor, tenants_of
from tenancy.admin.base import ReadOnlyAdmin, holds_anywhere, problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope

LONGEST_KEY = 19
DIRECT_BYTES = 16 * 1024**2
"""Files of at least this size are uploaded directly to the artifact store, if it supports that."""


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


def upload(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """GET shows the form, POST registers the release. Requires the right to do so, before any of the body is read."""
    if not tenants_of(request.user, Scope.REGISTER).exists():
        raise PermissionDenied
    if request.method != "POST":
        return _form(pages, request)
    try:
        with receive(request, actor(request.user)) as received:
            return _protected(request, pages, received)
    except TooManyFilesSent as error:
        return _form(pages, request, InvalidRequest(str(error)))
    except CoordinatorError as error:
        return _form(pages, request, error)


@csrf_protect
def _protected(request: HttpRequest, pages: ReadOnlyAdmin, received: ReleaseUpload) -> HttpResponse:
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
    key = request.GET.get("again", "")
    if not (key.isascii() and key.isdigit() and len(key) < LONGEST_KEY):
        return None
    found: Release | None = pages.get_queryset(request).filter(pk=int(key), status=Status.REJECTED).first()
    return found


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
        problem=problem_of(error) if error else None,
    )
