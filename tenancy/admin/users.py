"""The pages of users, for superusers, and the page with which each user logs out everywhere."""

from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget

from foundation.admin.columns import badge, column
from foundation.admin.times import timed
from tenancy import audit
from tenancy.access import actor
from tenancy.admin.account import account
from tenancy.admin.base import Person, ScopedFilter
from tenancy.admin.exported_list import ExportedList
from tenancy.login import end_everywhere
from tenancy.models import Membership

if TYPE_CHECKING:
    _UserAdmin = PlainUserAdmin[User]
else:
    from unfold.admin import ModelAdmin as _UnfoldAdmin

    class _UserAdmin(PlainUserAdmin, _UnfoldAdmin):
        pass


FLAGS = ("is_active", "is_staff", "is_superuser")


class LogOutEverywhereForm(forms.Form):
    password = forms.CharField(
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"}),
        help_text="Your password, so that no other person can do this at your unlocked screen.",
    )


SUPERUSER, ACTIVE, INACTIVE = "superuser", "active", "inactive"
STATES = {SUPERUSER: "info", ACTIVE: "success", INACTIVE: "danger"}


class UserStateFilter(ScopedFilter):
    title = parameter_name = "state"
    conditions: ClassVar[dict[str, tuple[str, Q]]] = {
        ACTIVE: ("Active", Q(is_active=True)),
        INACTIVE: ("Inactive", Q(is_active=False)),
        SUPERUSER: ("Superusers", Q(is_superuser=True)),
        "alone": ("Without any role", Q(memberships=None, is_superuser=False)),
        "never": ("Never logged in", Q(last_login=None)),
    }

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((name, label) for name, (label, _) in self.conditions.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        _, condition = self.conditions.get(self.value() or "", ("", Q()))
        return queryset.filter(condition)


class NewUserForm(UserCreationForm):
    """Makes each new user a member of the staff, who can log in to the admin."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.is_staff = True


class NewPasswordForm(AdminPasswordChangeForm):
    """Sets a new password, which ends the user's API tokens.

    It cannot disable the password, because that would not end them. Deactivate the user instead.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("usable_password", None)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(ExportedList, _UserAdmin):
    """Superusers only. Leaves out Django's permissions, because only memberships grant rights."""

    add_form = NewUserForm
    form = UserChangeForm
    change_password_form = NewPasswordForm
    list_display = ("username", "full_name", "email", "state", "roles", "last_log_in")
    list_filter = (UserStateFilter,)
    list_filter_sheet = False
    add_label = "Add a user"
    search_help_text = "Search by user name, name or email"
    file_name = "users"
    exported: ClassVar = {
        "user": lambda row: row.get_username(),
        "name": lambda row: row.get_full_name(),
        "email": lambda row: row.email,
        "active": lambda row: row.is_active,
        "superuser": lambda row: row.is_superuser,
        "roles": lambda row: roles_of(row),
        "lastLogIn": lambda row: row.last_login,
    }
    filter_horizontal = ()
    actions = None
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        (
            "Access",
            {
                "fields": ("is_active", "is_staff", "is_superuser"),
                "description": "API tokens that the user issued never grant more than the user's own rights: "
                "without Active, nothing; without Superuser, what the user's memberships grant.",
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        memberships = Membership.objects.select_related("tenant").order_by("tenant__slug", "role")
        return super().get_queryset(request).prefetch_related(Prefetch("memberships", memberships))

    @column("Name", ordering="last_name", empty="-")
    def full_name(self, user: User) -> str | None:
        return user.get_full_name() or None

    @badge("State", STATES)
    def state(self, user: User) -> str:
        if not user.is_active:
            return INACTIVE
        return SUPERUSER if user.is_superuser else ACTIVE

    @column("Roles", empty="-")
    def roles(self, user: User) -> str | None:
        return ", ".join(roles_of(user)) or None

    @column("Last log-in", ordering="last_login", empty="never")
    def last_log_in(self, user: User) -> SafeString | None:
        return timed(user.last_login)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            flags = {name: getattr(obj, name) for name in FLAGS if not change or name in form.changed_data}
            changed = {"changed": sorted(form.changed_data)} if change else {}
            self._audit("user.change" if change else "user.create", request, obj, **changed, **flags)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        with transaction.atomic():
            response = super().user_change_password(request, id, form_url)
            if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
                self._audit("user.password", request, User.objects.get(pk=id))
        return response

    def _audit(self, act: str, request: HttpRequest, of: User, **details: Any) -> None:
        by = actor(request.user)
        audit.record(act, tenant=None, actor=by, object_type="user", object=of.get_username(), **details)

    def get_urls(self) -> list[URLPattern]:
        everywhere = self.admin_site.admin_view(self.log_out_everywhere)
        own = self.admin_site.admin_view(partial(account, self.admin_site))
        return [
            path("log-out-everywhere/", everywhere, name="log_out_everywhere"),
            path("account/", own, name="account"),
            *super().get_urls(),
        ]

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


def roles_of(user: User) -> list[str]:
    """Return the user's roles, such as `viewer@acme`."""
    rows: QuerySet[Membership] = user.memberships.all()
    return [f"{row.role}@{row.tenant.slug}" for row in rows]
