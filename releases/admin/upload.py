"""The page that takes a release in: a descriptor with its artifact files, streamed into the artifact store."""

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_protect

from foundation.errors import CoordinatorError, InvalidRequest
from releases.registration import direct_uploads, registrar
from releases.registration.uploads import ReleaseUpload, receiving
from tenancy.access import actor, tenants_of
from tenancy.admin.base import problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope

if TYPE_CHECKING:
    from releases.admin.releases import ReleaseAdmin


DIRECT_BYTES = 16 * 1024**2
"""Files of at least this size go straight to the artifact store, where it takes them so."""


class TenantForm(forms.Form):
    """Where the release goes. Only tenants in which the person may register are a choice."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), to_field_name="slug", empty_label=None)

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.REGISTER)


def upload(pages: "ReleaseAdmin", request: HttpRequest) -> HttpResponse:
    """GET shows the form, POST takes the release in. Nobody who may not register gets a byte of the body read."""
    if not tenants_of(request.user, Scope.REGISTER).exists():
        raise PermissionDenied
    if request.method != "POST":
        return _form(pages, request)
    try:
        with receiving(request, actor(request.user)) as received:
            return _protected(request, pages, received)
    except TooManyFilesSent as error:
        return _form(pages, request, InvalidRequest(str(error)))
    except CoordinatorError as error:
        return _form(pages, request, error)


@csrf_protect
def _protected(request: HttpRequest, pages: "ReleaseAdmin", received: ReleaseUpload) -> HttpResponse:
    form = TenantForm(request)
    if not form.is_valid():
        # A tenant that the person may not register in is as good as none.
        raise InvalidRequest("Choose one of the tenants in which you may upload releases.")
    if received.descriptor is None:
        raise InvalidRequest("Choose a release descriptor, the file pipeline-release.json.")
    tenant: Tenant = form.cleaned_data["tenant"]
    made = registrar.register(
        tenant,
        received.descriptor,
        received.files,
        actor=actor(request.user),
        contract=received.contract or None,
        attached=received.attached,
    )
    if made.created:
        messages.success(request, f"Release {made.release} was uploaded. Its verification is on the way.")
    else:
        messages.info(request, f"Release {made.release} was registered before with the same metadata. Nothing changed.")
    return redirect("admin:releases_release_change", made.release.pk)


def _form(pages: "ReleaseAdmin", request: HttpRequest, error: CoordinatorError | None = None) -> HttpResponse:
    # The body of a refused upload may be half read: nothing here may look at request.POST.
    return pages.page(
        request,
        "releases/upload.html",
        status=error.status if error else 200,
        title="Upload a release",
        tenants=tenants_of(request.user, Scope.REGISTER),
        direct=reverse("admin:releases_release_upload") + "direct/" if direct_uploads.offered() else "",
        direct_bytes=DIRECT_BYTES,
        problem=problem_of(error) if error else None,
    )
