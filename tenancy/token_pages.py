"""The pages of API tokens. Only the response that issues a token contains its plain text."""

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from foundation.admin.columns import badge, column
from tenancy import audit
from tenancy.access import TokenNameTaken, actor, issue_token, tenants_of, with_owners
from tenancy.audit.acts import Act
from tenancy.console.base import TenantScopedAdmin, declares_views
from tenancy.console.lists import ConditionFilter, ExportedList, TenantFilter, time
from tenancy.models import ApiToken, Tenant, validate_identifier
from tenancy.roles import MEANING, Scope

LIFETIMES = (30, 90, 365)
UNUSED_DAYS = (30, 90, 180)
SOON = timedelta(days=14)
"""How long before its expiry a token is marked."""
VALID, EXPIRING, EXPIRED, ORPHANED = "valid", "expires soon", "expired", "owner left"
STATES = {VALID: "success", EXPIRING: "warning", EXPIRED: "default", ORPHANED: "danger"}
USUAL = {Scope.READ.value, Scope.PAYLOADS.value}
"""The scopes that are selected at first."""


def lifetimes() -> list[tuple[str, str]]:
    """Return the choices for a token's lifetime. The longest that the installation allows is always included."""
    longest = settings.TOKEN_MAX_DAYS
    days = sorted({*(lifetime for lifetime in LIFETIMES if lifetime <= longest), longest})
    return [(str(lifetime), f"{lifetime} days") for lifetime in days]


class UnusedFilter(ConditionFilter):
    """Filters tokens that were not used for some days. Includes tokens that were issued before that and never used."""

    title = "last use"
    parameter_name = "unused"
    conditions: ClassVar = {
        str(days): (
            f"Not used for {days} days",
            Q(last_used_at__lt=Now() - timedelta(days=days))
            | Q(last_used_at=None, created__lt=Now() - timedelta(days=days)),
        )
        for days in UNUSED_DAYS
    }


class ExpiryFilter(ConditionFilter):
    title = parameter_name = "expiry"
    conditions: ClassVar = {
        "valid": ("Not expired", Q(expiry__gt=Now())),
        "soon": (f"Expires within {SOON.days} days", Q(expiry__gt=Now(), expiry__lte=Now() + SOON)),
        "expired": ("Expired", Q(expiry__lte=Now())),
    }


class NewTokenForm(forms.Form):
    """The tenant, name, scopes and lifetime of a new token. Offers only tenants that the user administers."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), empty_label=None, widget=UnfoldAdminSelectWidget)
    name = forms.CharField(
        max_length=100,
        validators=[validate_identifier],
        widget=UnfoldAdminTextInputWidget,
        help_text="The history shows what this token does as token:NAME.",
    )
    scopes = forms.MultipleChoiceField(choices=[(scope.value, scope.value) for scope in Scope])
    lifetime = forms.ChoiceField(choices=lifetimes, initial="90", widget=UnfoldAdminSelectWidget)

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.ADMINISTER)

    @property
    def scope_choices(self) -> list[tuple[str, str, bool]]:
        """Return each scope with its meaning, and True if it is chosen."""
        chosen = set(self.data.getlist("scopes")) if self.is_bound else USUAL  # type: ignore[attr-defined]
        return [(scope.value, meaning, scope.value in chosen) for scope, meaning in MEANING.items()]


def state_of(token: ApiToken) -> str:
    if token.has_expired:
        return EXPIRED
    if not token.has_standing:
        return ORPHANED
    return EXPIRING if token.expiry <= timezone.now() + SOON else VALID


@admin.register(ApiToken)
@declares_views(Scope.ADMINISTER, add_view=Act.TOKEN_ISSUE, delete_view=Act.TOKEN_END)
class ApiTokenAdmin(ExportedList, TenantScopedAdmin):
    needs = Scope.AUDIT
    add_label = "Issue a token"
    empty = "Programs need a token to call the API. A token belongs to one tenant, has scopes, and expires."
    list_display = ("name", "tenant", "state", "scope_list", "user", "last_used", "expires")
    ordering = ("name", "digest")
    list_filter = (ExpiryFilter, UnusedFilter, TenantFilter)
    search_fields = ("name",)
    search_help_text = "Search by name"
    fields = readonly_fields = (
        "name",
        "tenant",
        "state",
        "begins_with",
        "meanings",
        "user",
        "issued",
        "last_used",
        "expires",
    )
    removal = "Revoke the token"
    consequence = "Programs that use this token stop working immediately and need a new one. This cannot be undone."
    file_name = "api-tokens"
    exported: ClassVar = {
        "name": lambda row: row.name,
        "tenant": lambda row: row.tenant.slug,
        "state": lambda row: state_of(row),
        "beginsWith": lambda row: row.token_key[:8],
        "scopes": lambda row: row.scopes,
        "owner": lambda row: row.user.get_username(),
        "issued": lambda row: row.created,
        "lastUsed": lambda row: row.last_used_at,
        "expires": lambda row: row.expiry,
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return with_owners(super().get_queryset(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.administers(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.administers(request, obj)

    def delete_model(self, request: HttpRequest, obj: ApiToken) -> None:
        with transaction.atomic():
            name, tenant = obj.name, obj.tenant
            super().delete_model(request, obj)
            audit.record(Act.TOKEN_END, tenant=tenant, actor=actor(request.user), object=name)

    @column("Begins with")
    def begins_with(self, token: ApiToken) -> str:
        return f"{token.token_key[:8]}…"

    @column("Scopes")
    def scope_list(self, token: ApiToken) -> str:
        usable = token.usable_scopes
        return ", ".join(scope if scope in usable else f"{scope} (owner lacks it)" for scope in token.scopes)

    @column("Scopes")
    def meanings(self, token: ApiToken) -> SafeString:
        usable = token.usable_scopes
        rows = (
            (MEANING[Scope(scope)], scope, "" if scope in usable else "The owner lacks it, so the token does, too.")
            for scope in token.scopes
        )
        line = '<li>{} <span class="dc-mono dc-quiet">{}</span> <strong>{}</strong></li>'
        return format_html("<ul>{}</ul>", format_html_join("", line, rows))

    @badge("State", STATES)
    def state(self, token: ApiToken) -> str:
        return state_of(token)

    issued = time("Issued", "created", ordering="created")
    last_used = time("Last used", "last_used_at", ordering="last_used_at", empty="never")
    expires = time("Expires", "expiry", ordering="expiry")

    @sensitive_variables()
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form. A POST issues the token, and its response is the only one that contains the plain text."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewTokenForm(request)
        if request.method == "POST" and form.is_valid():
            issued = self._issue(request, form)
            if issued is not None:
                token, plain = issued
                return self.page(
                    request, "tenancy/token_issued.html", title="API token issued", token=token, plain=plain
                )
        status = 400 if form.is_bound else 200
        return self.page(request, "tenancy/issue_token.html", status=status, title="Issue an API token", form=form)

    @sensitive_variables()
    def _issue(self, request: HttpRequest, form: NewTokenForm) -> tuple[ApiToken, str] | None:
        requested = form.cleaned_data
        lifetime = timedelta(days=int(requested["lifetime"]))
        scopes = [Scope(scope) for scope in requested["scopes"]]
        assert request.user.is_authenticated  # noqa: S101 - the admin requires it
        try:
            return issue_token(requested["tenant"], request.user, requested["name"], scopes, lifetime=lifetime)
        except TokenNameTaken as error:
            form.add_error("name", error.detail)
            return None
