"""The pages of memberships."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from foundation.admin.columns import badge, column
from tenancy import audit, members
from tenancy.access import actor, tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import TenantScopedAdmin, declares_views
from tenancy.console.lists import ConditionFilter, ExportedList, ScopedFilter, TenantFilter, text, time
from tenancy.models import Membership
from tenancy.roles import GRANTS, MEANING, PURPOSE, Role, Scope
from tenancy.session_pages import end_of_member

if TYPE_CHECKING:
    _MembershipForm = forms.ModelForm[Membership]
else:
    _MembershipForm = forms.ModelForm


class GroupsField(forms.CharField):
    """Takes the names of groups, one a line."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
            help_text="One group a line. They hold for all roles of the user in the tenant. Members with a group may "
            "answer the questions that are for this group.",
        )

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        lines = [line.strip() for line in super().clean(value).splitlines()]
        try:
            return members.valid_groups([line for line in lines if line])
        except members.GroupsInvalid as refusal:
            raise forms.ValidationError(refusal.detail) from None


class NewMembershipForm(_MembershipForm):
    """Takes the user's name as text: a list of all users would disclose the members of other tenants."""

    username = forms.CharField(
        max_length=members.LONGEST_USERNAME,
        widget=UnfoldAdminTextInputWidget,
        help_text="The name with which the user logs in. If no active user has it, the role waits until one does.",
    )
    groups = GroupsField()

    class Meta:
        model = Membership
        fields = ("tenant", "role", "groups")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self.instance.invited = name = cleaned.get("username", "")
        if "tenant" in cleaned and members.named(cleaned["tenant"], name).filter(role=cleaned.get("role")).exists():
            self.add_error("username", "This user already has this role.")
        return cleaned


class MembershipForm(_MembershipForm):
    groups = GroupsField()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        same = members.named(self.instance.tenant, self.instance.username).filter(role=cleaned.get("role"))
        if same.exclude(pk=self.instance.pk).exists():
            self.add_error("role", "This user already has this role.")
        return cleaned


class RoleFilter(ScopedFilter):
    title = parameter_name = "role"
    options = tuple(Role.choices())


class LogInFilter(ConditionFilter):
    """Filters by the last log-in. Members without a known log-in are in each of the choices."""

    title = "last log-in"
    parameter_name = "log-in"
    conditions: ClassVar = {"never": ("Never, or not known", Q(last_log_in=None))} | {
        f"{days}": (f"Not for {days} days", Q(last_log_in=None) | Q(last_log_in__lt=Now() - timedelta(days=days)))
        for days in (30, 90, 180)
    }


@admin.register(Membership)
@declares_views(
    Scope.ADMINISTER,
    add_view=Act.MEMBERSHIP_ADD,
    change_view=Act.MEMBERSHIP_CHANGE,
    delete_view=Act.MEMBERSHIP_REMOVE,
)
class MembershipAdmin(ExportedList, TenantScopedAdmin):
    """Tenant admins give users roles in their tenants. A user may have several roles, each in a separate row.

    Only superusers see whether an active user has the name (`members.listed`).
    """

    needs = Scope.AUDIT
    add_label = "Add a member"
    list_display = ("person", "name", "tenant", "role", "purpose", "group_names", "state", "log_in")
    ordering = (members.USERNAME, "tenant__slug", "role")
    list_filter = (RoleFilter, LogInFilter, TenantFilter)
    search_fields = ("username", "full_name")
    search_help_text = "Search by user name or name"
    change_form_outer_after_template = "tenancy/roles.html"
    removal = "Remove the role"
    consequence = (
        "The user immediately loses what only this role allows in this tenant, and so do the API tokens that the user "
        "issued. Other roles of the user remain."
    )
    file_name = "members"
    exported: ClassVar = {
        "user": lambda row: row.username,
        "name": lambda row: row.full_name,
        "tenant": lambda row: row.tenant.slug,
        "role": lambda row: row.role,
        "groups": lambda row: row.groups,
        "scopes": lambda row: sorted(GRANTS[Role(row.role)]),
        "active": lambda row: row.active,
        "lastLogIn": lambda row: row.last_log_in,
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return members.listed(super().get_queryset(request), sees_users=bool(request.user.is_superuser))

    end_sessions = end_of_member

    person = text("User", "username", ordering="username")
    log_in = time("Last log-in", "last_log_in", ordering="last_log_in", empty="-")

    @column("Name", ordering="full_name", empty="-")
    def name(self, member: Membership) -> str | None:
        return member.full_name or None

    @column("What the role is for")
    def purpose(self, member: Membership) -> str:
        return PURPOSE[Role(member.role)]

    @column("Groups", empty="-")
    def group_names(self, member: Membership) -> str | None:
        return ", ".join(member.groups) or None

    @badge("State", {"active": "success", "inactive": "danger", "not known": "default"}, ordering="active")
    def state(self, member: Membership) -> str:
        return "not known" if member.active is None else "active" if member.active else "inactive"

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        allowed = [
            (role.label, PURPOSE[role], [MEANING[scope] for scope in Scope if scope in GRANTS[role]]) for role in Role
        ]
        return super().changeform_view(request, object_id, form_url, {"roles": allowed, **(extra_context or {})})

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=MembershipForm if obj else NewMembershipForm, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("person", "tenant", "role", "groups") if obj else ("tenant", "username", "role", "groups")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("person", "tenant") if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "tenant":
            kwargs["queryset"] = tenants_of(request.user, Scope.ADMINISTER)
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "tenant" and isinstance(field, forms.ModelChoiceField):
            field.empty_label = None
        return field

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Leave out Django's links to the pages that add, change, delete and view the related row."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "role":
            field.help_text = (
                "A user may have several roles, which add up. API tokens that the user issued in this tenant lose "
                "the scopes that their owner loses."
            )
        assert field is not None  # noqa: S101 - every field of the model is editable
        for link in ("add", "change", "delete", "view"):
            setattr(field.widget, f"can_{link}_related", False)
        return field

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.administers(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.administers(request, obj)

    has_delete_permission = has_change_permission

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        obj.username = obj.username or obj.invited
        held, by = members.scopes_of(obj.tenant, obj.username), actor(request.user)
        with transaction.atomic():
            if not change:
                added, _ = members.add(obj.tenant, obj.username, Role(obj.role), actor=by)
                obj.pk = added.pk
            elif "role" in form.changed_data:
                obj.save(update_fields=["role"])
                audit.record(
                    Act.MEMBERSHIP_CHANGE,
                    tenant=obj.tenant,
                    actor=by,
                    object=obj.username,
                    role=obj.role,
                    before=form.initial.get("role"),
                )
            if change or obj.groups:
                members.set_groups(obj.tenant, obj.username, obj.groups, actor=by)
        _explain(request, obj, held)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        held = members.scopes_of(obj.tenant, obj.username)
        members.remove(obj.tenant, obj.username, Role(obj.role), actor=actor(request.user))
        _explain(request, obj, held)


def _explain(request: HttpRequest, member: Membership, held: frozenset[Scope]) -> None:
    """Say what the member may do now and not before, and the reverse. `held` are the scopes before the change."""
    holds, name = members.scopes_of(member.tenant, member.username), member.username
    if gained := _listed(holds - held):
        messages.info(request, f"{name} can now: {gained}.")
    if lost := _listed(held - holds):
        messages.warning(request, f"{name} can no longer: {lost}. API tokens that {name} issued lose this, too.")


def _listed(scopes: frozenset[Scope]) -> str:
    return "; ".join(MEANING[scope][0].lower() + MEANING[scope][1:] for scope in Scope if scope in scopes)
