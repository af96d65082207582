"""Tenants and their members; users, for superusers."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from foundation.admin.columns import column, moment
from tenancy.access import tenants_of
from tenancy.admin.base import TenantFilter, TenantScopedAdmin
from tenancy.admin.tokens import ApiTokenAdmin
from tenancy.login import end_everywhere
from tenancy.models import Membership, Tenant
from tenancy.roles import Scope

if TYPE_CHECKING:
    _UserAdmin = PlainUserAdmin[User]
    _MembershipForm = forms.ModelForm[Membership]
else:
    from unfold.admin import ModelAdmin as _UnfoldAdmin

    class _UserAdmin(PlainUserAdmin, _UnfoldAdmin):
        pass

    _MembershipForm = forms.ModelForm

__all__ = ["ApiTokenAdmin", "MembershipAdmin", "TenantAdmin", "UserAdmin"]


@admin.register(Tenant)
class TenantAdmin(TenantScopedAdmin):
    """Superusers make tenants and name them; a tenant's slug is in addresses and queue names, so it stays."""

    tenant_path = ""
    needs = Scope.ADMINISTER
    list_display = ("slug", "name", "known_since")
    search_fields = ("slug", "name")
    fields = ("slug", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @column("Made", ordering="created_at")
    def known_since(self, tenant: Tenant) -> str:
        return moment(tenant.created_at)


class NewMembershipForm(_MembershipForm):
    """The person is named, not chosen: a list of everyone would tell each tenant who belongs to the others."""

    username = forms.CharField(
        max_length=150, widget=UnfoldAdminTextInputWidget, help_text="The name with which the person logs in."
    )

    class Meta:
        model = Membership
        fields = ("tenant", "role")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        person = User.objects.filter(username=cleaned.get("username", ""), is_active=True).first()
        if person is None:
            self.add_error("username", "There is nobody of that name.")
        elif Membership.objects.filter(user=person, tenant=cleaned.get("tenant")).exists():
            self.add_error("username", "This person is a member already. Change that membership's role instead.")
        else:
            self.instance.user = person
        return cleaned


@admin.register(Membership)
class MembershipAdmin(TenantScopedAdmin):
    """Tenant admins say who belongs to their tenants, and as what."""

    needs = Scope.ADMINISTER
    list_display = ("user", "tenant", "role")
    list_select_related = ("user", "tenant")
    list_filter = (TenantFilter,)
    search_fields = ("user__username",)
    search_help_text = "Search by user name"

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **({} if obj else {"form": NewMembershipForm}), **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("user", "tenant", "role") if obj else ("tenant", "username", "role")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("user", "tenant") if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "tenant":
            kwargs["queryset"] = tenants_of(request.user, Scope.ADMINISTER)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Without the links with which Django would let the person change the tenant beside it."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "role":
            field.help_text = (
                "API tokens that the person issued in this tenant immediately lose the scopes that the role lacks."
            )
        assert field is not None  # noqa: S101 - none of the model's fields is kept from forms
        for link in ("add", "change", "delete", "view"):
            setattr(field.widget, f"can_{link}_related", False)
        return field

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)


class LogOutEverywhereForm(forms.Form):
    password = forms.CharField(
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"}),
        help_text="Your password, so that no other person can do this at your unlocked screen.",
    )


class NewUserForm(UserCreationForm):
    """Whoever is made here is meant to log in here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.is_staff = True


class NewPasswordForm(AdminPasswordChangeForm):
    """Sets a new password, which ends the person's API tokens.

    It cannot disable the password, because that would not end them. Deactivate the user instead.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("usable_password", None)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(_UserAdmin):
    """Superusers only. What a person may do comes from memberships alone, so Django's own permissions are not shown."""

    add_form = NewUserForm
    form = UserChangeForm
    change_password_form = NewPasswordForm
    list_display = ("username", "email", "is_active", "is_superuser", "last_seen")
    list_filter = ()
    filter_horizontal = ()
    actions = None
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        (
            "Access",
            {
                "fields": ("is_active", "is_staff", "is_superuser"),
                "description": "API tokens that the person issued never grant more than the person's own rights: "
                "without Active, nothing; without Superuser, what the person's memberships grant.",
            },
        ),
    )

    @column("Last login", ordering="last_login", empty="never")
    def last_seen(self, user: User) -> str | None:
        return moment(user.last_login) or None

    def get_urls(self) -> list[URLPattern]:
        everywhere = self.admin_site.admin_view(self.log_out_everywhere)
        return [path("log-out-everywhere/", everywhere, name="log_out_everywhere"), *super().get_urls()]

    @method_decorator(sensitive_post_parameters())
    def log_out_everywhere(self, request: HttpRequest) -> HttpResponse:
        """End all sessions and tokens of the current user. Needs no permission."""
        form = LogOutEverywhereForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            if end_everywhere(request, form.cleaned_data["password"]):
                return redirect("admin:login")
            form.add_error("password", "This is not your password.")
        frame = {**self.admin_site.each_context(request), "title": "Log out everywhere", "form": form}
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "tenancy/log_out_everywhere.html", frame, status=400 if form.is_bound else 200)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._superuser(request)

    def has_view_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return self._superuser(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return self._superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Forbid deletion: it would also delete the log of the user's actions. Deactivate users instead."""
        return False

    def _superuser(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)
