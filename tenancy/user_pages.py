"""The pages of users, for superusers, and those on which each user sees their account and changes their password."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse, reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AdminOwnPasswordChangeForm, AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget

from foundation.admin.columns import badge, column, moment
from tenancy.access import record_of_user
from tenancy.audit.acts import Act, declares
from tenancy.console.base import OneButtonForms, declares_views
from tenancy.console.lists import ConditionFilter, ExportedList, time
from tenancy.login import confirmed, end_everywhere, has_password
from tenancy.models import ApiToken, Membership
from tenancy.preferences import choose_zone, zones
from tenancy.roles import MEANING, Role, Scope, granted
from tenancy.session_pages import OTHERS, end_of_user, end_own
from tenancy.sessions import BEGAN, sessions_of

if TYPE_CHECKING:
    _UserAdmin = PlainUserAdmin[User]
else:
    from unfold.admin import ModelAdmin as _UnfoldAdmin

    class _UserAdmin(PlainUserAdmin, _UnfoldAdmin):
        pass


FLAGS = ("is_active", "is_staff", "is_superuser")
SUPERUSER, ACTIVE, INACTIVE = "superuser", "active", "inactive"
HELP = {
    "username": "Letters, digits and @ . + - _, at most 150 characters.",
    "password": SafeString('Only a hash of it is stored. <a href="../password/">Set a new password</a>.'),
    "usable_password": "If disabled, the user can log in only with single sign-on.",
    "is_active": "Without it, the person cannot log in, and their API tokens grant nothing.",
    "is_staff": "The person may open this console. Roles in tenants grant what they may do there.",
    "is_superuser": "The person may do everything in every tenant.",
}
STATES = {SUPERUSER: "info", ACTIVE: "success", INACTIVE: "danger"}


class LogOutEverywhereForm(forms.Form):
    password = forms.CharField(
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"}),
        help_text="Your password, so that no other person can do this at your unlocked screen.",
    )


class UserStateFilter(ConditionFilter):
    title = parameter_name = "state"
    conditions: ClassVar = {
        ACTIVE: ("Active", Q(is_active=True)),
        INACTIVE: ("Inactive", Q(is_active=False)),
        SUPERUSER: ("Superusers", Q(is_superuser=True)),
        "alone": ("Without any role", Q(memberships=None, is_superuser=False)),
        "never": ("Never logged in", Q(last_login=None)),
    }


class _Explained(forms.BaseForm):
    """Says what each field means in this console."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.fields.keys() & HELP.keys():
            self.fields[name].help_text = HELP[name]


class NewUserForm(_Explained, UserCreationForm):
    """Makes each new user a member of the staff, who can log in to the admin."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.is_staff = True


class UserForm(_Explained, UserChangeForm):
    pass


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
@declares_views(add_view=Act.USER_CREATE, change_view=Act.USER_CHANGE, user_change_password=Act.USER_PASSWORD)
class UserAdmin(ExportedList, OneButtonForms, _UserAdmin):
    """Superusers only. Leaves out Django's permissions, because only memberships grant rights."""

    add_form = NewUserForm
    form = UserForm
    change_password_form = NewPasswordForm
    list_display = ("username", "full_name", "email", "state", "roles", "last_log_in")
    list_filter = (UserStateFilter,)
    list_filter_sheet = False
    add_label = "Add a user"
    change_form_outer_after_template = "tenancy/user_sessions.html"
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
                "fields": FLAGS,
                "description": "API tokens that the user issued never grant more than the user's own rights.",
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        memberships = Membership.objects.select_related("tenant").order_by("tenant__slug", "role")
        return super().get_queryset(request).prefetch_related(Prefetch("memberships", memberships))

    last_log_in = time("Last log-in", "last_login", ordering="last_login", empty="never")

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

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        user = context.get("original")
        context["sessions"] = sessions_of(user, request.session.session_key) if user else []
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            flags = {name: getattr(obj, name) for name in FLAGS if not change or name in form.changed_data}
            changed = {"changed": sorted(form.changed_data)} if change else {}
            act = Act.USER_CHANGE if change else Act.USER_CREATE
            record_of_user(act, obj, by=request.user, **changed, **flags)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        with transaction.atomic():
            response = super().user_change_password(request, id, form_url)
            if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
                record_of_user(Act.USER_PASSWORD, User.objects.get(pk=id), by=request.user)
        return response

    def get_urls(self) -> list[URLPattern]:
        everywhere = self.admin_site.admin_view(self.log_out_everywhere)
        account = self.admin_site.admin_view(self.account)
        return [
            path("log-out-everywhere/", everywhere, name="log_out_everywhere"),
            path("account/", account, name="account"),
            path("account/end-session/", self.admin_site.admin_view(end_own), name="end_own_session"),
            path("<int:user_id>/end-sessions/", self.admin_site.admin_view(end_of_user), name="end_user_sessions"),
            *super().get_urls(),
        ]

    @declares(Act.USER_TIME_ZONE)
    def account(self, request: HttpRequest) -> HttpResponse:
        """GET shows the page, POST stores the time zone. Needs no permission: everyone sees only their own account."""
        if request.method == "POST":
            try:
                choose_zone(request.user, request.POST.get("time_zone", ""))  # type: ignore[arg-type]  # they are logged in
            except ValueError as error:
                messages.error(request, f"{error} Nothing changed.")
            else:
                messages.success(request, "Times on all pages are now in this zone.")
            return redirect("admin:account")
        since = datetime.fromtimestamp(request.session[BEGAN], UTC)
        return self._own_page(
            request,
            "tenancy/account.html",
            title="My account",
            roles=_roles(request),
            second_factor=_second_factor(request),
            zone_options=_zone_options(str(timezone.get_current_timezone())),
            now=moment(timezone.now()),
            sessions=sessions_of(request.user, request.session.session_key),  # type: ignore[arg-type]  # they are logged in
            others=OTHERS,
            session_until=since + timedelta(seconds=settings.SESSION_MAX_SECONDS),
            idle_minutes=settings.SESSION_IDLE_SECONDS // 60,
            token_count=ApiToken.objects.filter(user=request.user.pk, expiry__gt=timezone.now()).count(),
        )

    @declares(Act.ADMIN_PAGE)
    @method_decorator(sensitive_post_parameters())
    def log_out_everywhere(self, request: HttpRequest) -> HttpResponse:
        """End all sessions and tokens of the current user. Needs no permission."""
        form = LogOutEverywhereForm(request.POST if request.method == "POST" else None)
        if not has_password(request):
            del form.fields["password"]
        if form.is_valid():
            if end_everywhere(request, form.cleaned_data.get("password", "")):
                return redirect("admin:login")
            form.add_error("password", "This is not your password.")
        response = self._own_page(request, "tenancy/log_out_everywhere.html", title="Log out everywhere", form=form)
        response.status_code = 400 if form.is_bound else 200
        return response

    def _own_page(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, {**self.admin_site.each_context(request), **context})

    def has_module_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    has_view_permission = has_add_permission = has_change_permission = has_module_permission

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Forbid deletion: it would also delete the log of the user's actions. Deactivate users instead."""
        return False


def roles_of(user: User) -> list[str]:
    """Return the user's roles, such as `viewer@acme`."""
    rows: QuerySet[Membership] = user.memberships.all()
    return [f"{row.role}@{row.tenant.slug}" for row in rows]


# --- the own account and password ---


def _second_factor(request: HttpRequest) -> dict[str, Any] | None:
    """Return the state of the user's second factor and the page that changes it; None if they cannot have one."""
    if not settings.SECOND_FACTOR or not has_password(request):
        return None
    from tenancy.sign_in import second_factor  # it loads allauth

    return {"is_on": second_factor.is_on(request.user), "address": reverse("own_second_factor")}


def _roles(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the tenants in which the user has the same roles, with the roles and what these allow."""
    held, alike = defaultdict[str, list[Role]](list), defaultdict[tuple[Role, ...], list[str]](list)
    rows = Membership.objects.filter(user=request.user.pk).order_by("tenant__slug", "role")
    for slug, role in rows.values_list("tenant__slug", "role"):
        held[slug].append(Role(role))
    for slug, roles in held.items():
        alike[tuple(roles)].append(slug)
    return [
        {
            "tenants": slugs,
            "roles": [role.label for role in roles],
            "meanings": [MEANING[scope] for scope in Scope if scope in granted(roles)],
        }
        for roles, slugs in alike.items()
    ]


@lru_cache(maxsize=16)
def _zone_options(chosen: str) -> SafeString:
    """Return the options of all time zones. There are more than 400, and they change with the system only."""
    selected = SafeString(" selected")
    rows = ((name, selected if name == chosen else "") for name in zones())
    return format_html_join("", '<option value="{0}"{1}>{0}</option>', rows)


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """Checks the old password as a log-in does, with its limits and its entries in the audit log."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request

    def clean_old_password(self) -> str:
        password: str = self.cleaned_data["old_password"]
        if confirmed(self._request, password) is None:
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return password


class OwnPasswordView(PasswordChangeView):
    title = "Change your password"
    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        self.request.current_app = admin.site.name
        return {**super().get_context_data(**kwargs), **admin.site.each_context(self.request)}

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            record_of_user(Act.USER_PASSWORD, form.user)
        return response
