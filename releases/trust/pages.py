"""The list of trusted keys, the page of a key, and the forms to add and revoke keys."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from foundation.admin.columns import badge, column
from foundation.errors import CoordinatorError
from releases.models import TrustedKey
from releases.trust import trust
from releases.trust.trust import is_revoked
from tenancy.access import actor, tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import POST, ReadOnlyAdmin, attempt_with_reason, problem_of, serves
from tenancy.console.lists import ExportedList, ScopedFilter, TenantFilter, time
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents.signing import MAX_KEY_CHARACTERS


class NewKeyForm(forms.Form):
    """The choices of `tenant` are the tenants that the user administers."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), empty_label=None, widget=UnfoldAdminSelectWidget)
    name = forms.CharField(
        max_length=trust.KEY_NAME_LENGTH,
        widget=UnfoldAdminTextInputWidget,
        help_text="The owner of the key, for example “CI 2026”.",
    )
    public_key = forms.CharField(
        max_length=MAX_KEY_CHARACTERS,
        widget=UnfoldAdminTextareaWidget,
        help_text="An ed25519 public key in PEM form. “pipelines key” creates it.",
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.ADMINISTER)


class KeyStateFilter(ScopedFilter):
    title = parameter_name = "state"

    options = (("trusted", "Trusted"), ("revoked", "Revoked"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[TrustedKey]) -> QuerySet[TrustedKey]:
        if self.value() not in {"trusted", "revoked"}:
            return queryset
        return queryset.filter(revocation__isnull=self.value() == "trusted")


@admin.register(TrustedKey)
class TrustedKeyAdmin(ExportedList, ReadOnlyAdmin):
    empty = "Releases that a trusted key signed count as signed. The policy of a pipeline can require that."
    list_display = ("name", "tenant", "state", "short_id", "added_by", "added")
    list_select_related = ("tenant", "revocation")
    list_filter = (KeyStateFilter, TenantFilter)
    file_name = "trusted-keys"
    exported: ClassVar = {
        "name": lambda row: row.name,
        "tenant": lambda row: row.tenant.slug,
        "state": lambda row: "revoked" if is_revoked(row) else "trusted",
        "keyId": lambda row: row.key_id,
        "addedBy": lambda row: row.added_by,
        "added": lambda row: row.added_at,
        "revokedBy": lambda row: row.revocation.actor if is_revoked(row) else None,
        "revoked": lambda row: row.revocation.revoked_at if is_revoked(row) else None,
        "revocationReason": lambda row: row.revocation.reason if is_revoked(row) else None,
    }
    search_fields = ("name", "key_id")
    search_help_text = "Search by name or key id"
    ordering = ("-id",)
    change_list_template = "releases/trusted_key_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrustedKey]:
        rows: QuerySet[TrustedKey] = super().get_queryset(request).select_related("tenant", "revocation")
        return rows

    @badge("State", {"trusted": "success", "revoked": "danger"})
    def state(self, key: TrustedKey) -> str:
        return "revoked" if is_revoked(key) else "trusted"

    @column("Key id", ordering="key_id")
    def short_id(self, key: TrustedKey) -> str:
        return f"{key.key_id[:16]}…"

    added = time("Added", "added_at", ordering="id")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"may_administer": tenants_of(request.user, Scope.ADMINISTER).exists()}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def show(self, request: HttpRequest, row: TrustedKey) -> HttpResponse:
        return self.page(
            request,
            "releases/trusted_key.html",
            title=row.name,
            original=row,
            key=row,
            revocation=row.revocation if is_revoked(row) else None,
            may_administer=self.has_scope(request, Scope.ADMINISTER, row),
        )

    @serves("new/", Act.TRUSTED_KEY_ADD, Scope.ADMINISTER)
    def new(self, request: HttpRequest) -> HttpResponse:
        """Trust a key."""
        form, error = NewKeyForm(request), None
        if request.method == "POST" and form.is_valid():
            fields = form.cleaned_data
            try:
                key = trust.add_key(
                    fields["tenant"], name=fields["name"], public_key=fields["public_key"], actor=actor(request.user)
                )
            except CoordinatorError as rejected:
                error = rejected
            else:
                messages.success(request, f"Signatures by {key.name} are trusted now.")
                return redirect("admin:releases_trustedkey_change", key.pk)
        return self.page(
            request,
            "releases/new_trusted_key.html",
            status=error.status if error else 400 if form.is_bound else 200,
            title="Trust a key",
            form=form,
            problem=problem_of(error),
        )

    @serves("<int:object_id>/revoke/", Act.TRUSTED_KEY_REVOKE, Scope.ADMINISTER, methods=POST)
    def revoke(self, request: HttpRequest, key: TrustedKey) -> HttpResponse:
        """Revoke the key permanently."""

        def end(reason: str) -> str:
            trust.revoke_key(key, actor=actor(request.user), reason=reason)
            return f"{key.name} is revoked. Its signatures are no longer trusted."

        attempt_with_reason(request, end, "{title}: {detail}")
        return redirect("admin:releases_trustedkey_change", key.pk)
