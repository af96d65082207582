"""API tokens: issued, looked at and revoked here. A token's plain text is on one answer, and nowhere else."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from coordinator.admin_base import TenantFilter, TenantScopedAdmin
from coordinator.admin_columns import column, moment
from coordinator.tenancy.access import issue_token, tenants_of
from coordinator.tenancy.models import ApiToken, Tenant, validate_identifier
from coordinator.tenancy.roles import Scope

LIFETIMES = {"30": "30 days", "90": "90 days", "365": "1 year", "": "Until it is revoked"}
MEANING = {
    Scope.READ: "Look at pipelines, releases, executions and workers",
    Scope.SUBMIT: "Submit executions",
    Scope.OPERATE: "Operate on executions",
    Scope.ANSWER: "Answer what executions wait for",
    Scope.REGISTER: "Upload releases",
    Scope.ACTIVATE: "Activate releases",
    Scope.ADMINISTER: "Administer the tenant",
}


class NewTokenForm(forms.Form):
    """What a token is for. Only tenants that the person administers are a choice."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), empty_label=None, widget=UnfoldAdminSelectWidget)
    name = forms.CharField(
        max_length=100,
        validators=[validate_identifier],
        widget=UnfoldAdminTextInputWidget,
        help_text="The history shows what this token does as token:NAME.",
    )
    scopes = forms.MultipleChoiceField(choices=[(scope.value, scope.value) for scope in Scope])
    lifetime = forms.ChoiceField(
        choices=list(LIFETIMES.items()), required=False, initial="90", widget=UnfoldAdminSelectWidget
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.ADMINISTER)

    @property
    def scope_choices(self) -> list[tuple[str, str, bool]]:
        chosen = set(self.data.getlist("scopes")) if self.is_bound else {Scope.READ.value}  # type: ignore[attr-defined]
        return [(scope.value, told, scope.value in chosen) for scope, told in MEANING.items()]


@admin.register(ApiToken)
class ApiTokenAdmin(TenantScopedAdmin):
    needs = Scope.ADMINISTER
    list_display = ("name", "tenant", "begins_with", "told_scopes", "user", "last_used", "expires")
    list_select_related = ("tenant", "user")
    list_filter = (TenantFilter,)
    search_fields = ("name",)
    search_help_text = "Search by name"
    fields = readonly_fields = ("name", "tenant", "begins_with", "told_scopes", "user", "made", "last_used", "expires")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    @column("Begins with")
    def begins_with(self, token: ApiToken) -> str:
        return f"{token.token_key[:8]}…"

    @column("Scopes")
    def told_scopes(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @column("Issued", ordering="created")
    def made(self, token: ApiToken) -> str:
        return moment(token.created)

    @column("Last used", ordering="last_used_at", empty="never")
    def last_used(self, token: ApiToken) -> str | None:
        return moment(token.last_used_at) or None

    @column("Expires", ordering="expiry", empty="never")
    def expires(self, token: ApiToken) -> str | None:
        return moment(token.expiry) or None

    @sensitive_variables()
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask what the token is for; on POST issue it and show its plain text on the answer itself, this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewTokenForm(request)
        if request.method == "POST" and form.is_valid():
            issued = self._issue(request, form)
            if issued is not None:
                token, plain = issued
                shown = self.page(
                    request, "tenancy/token_issued.html", title="API token issued", token=token, plain=plain
                )
                shown.headers["Cache-Control"] = "no-store"
                return shown
        status = 400 if form.is_bound else 200
        return self.page(request, "tenancy/issue_token.html", status=status, title="Issue an API token", form=form)

    @sensitive_variables()
    def _issue(self, request: HttpRequest, form: NewTokenForm) -> tuple[ApiToken, str] | None:
        asked = form.cleaned_data
        lifetime = timedelta(days=int(asked["lifetime"])) if asked["lifetime"] else None
        scopes = [Scope(scope) for scope in asked["scopes"]]
        assert request.user.is_authenticated  # noqa: S101 - the admin lets in nobody else
        try:
            with transaction.atomic():
                return issue_token(asked["tenant"], request.user, asked["name"], scopes, lifetime=lifetime)
        except IntegrityError:
            form.add_error("name", "The tenant has a token of this name already.")
            return None
