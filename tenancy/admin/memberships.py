"""The pages of memberships."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextInputWidget

from tenancy import audit
from tenancy.access import actor, tenants_of
from tenancy.admin.base import TenantFilter, TenantScopedAdmin
from tenancy.models import Membership
from tenancy.roles import Scope

if TYPE_CHECKING:
    _MembershipForm = forms.ModelForm[Membership]
else:
    _MembershipForm = forms.ModelForm


class NewMembershipForm(_MembershipForm):
    """Takes the user's name as text: a list of all users would disclose the members of other tenants."""

    username = forms.CharField(
        max_length=150, widget=UnfoldAdminTextInputWidget, help_text="The name with which the user logs in."
    )

    class Meta:
        model = Membership
        fields = ("tenant", "role")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        user = User.objects.filter(username=cleaned.get("username", ""), is_active=True).first()
        if user is None:
            self.add_error("username", "There is no active user with this name.")
        elif Membership.objects.filter(user=user, tenant=cleaned.get("tenant"), role=cleaned.get("role")).exists():
            self.add_error("username", "This user already has this role.")
        else:
            self.instance.user = user
        return cleaned


class MembershipForm(_MembershipForm):
    """Changes the role of a membership."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        same = Membership.objects.filter(
            user_id=self.instance.user_id, tenant_id=self.instance.tenant_id, role=cleaned.get("role")
        )
        if same.exclude(pk=self.instance.pk).exists():
            self.add_error("role", "This user already has this role.")
        return cleaned


@admin.register(Membership)
class MembershipAdmin(TenantScopedAdmin):
    """Tenant admins give users roles in their tenants. A user may have several roles, each in a separate row."""

    needs = Scope.ADMINISTER
    list_display = ("user", "tenant", "role")
    list_select_related = ("user", "tenant")
    list_filter = (TenantFilter,)
    search_fields = ("user__username",)
    search_help_text = "Search by user name"

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=MembershipForm if obj else NewMembershipForm, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("user", "tenant", "role") if obj else ("tenant", "username", "role")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("user", "tenant") if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "tenant":
            kwargs["queryset"] = tenants_of(request.user, Scope.ADMINISTER)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Leave out Django's links to the pages that add, change, delete and view the related row."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "role":
            field.help_text = (
                "API tokens that the user issued in this tenant immediately lose the scopes that the role lacks."
            )
        assert field is not None  # noqa: S101 - every field of the model is editable
        for link in ("add", "change", "delete", "view"):
            setattr(field.widget, f"can_{link}_related", False)
        return field

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            before = {"before": form.initial.get("role")} if change else {}
            self._audit("membership.change" if change else "membership.add", request, obj, role=obj.role, **before)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        with transaction.atomic():
            super().delete_model(request, obj)
            self._audit("membership.remove", request, obj, role=obj.role)

    def _audit(self, act: str, request: HttpRequest, of: Membership, **details: Any) -> None:
        by, name = actor(request.user), of.user.get_username()
        audit.record(act, tenant=of.tenant, actor=by, object_type="membership", object=name, **details)
