"""The pages of invitations, for tenant admins, and the page to which the link of an e-mail leads."""

from typing import Any, ClassVar, Final

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from foundation.admin.columns import badge, column
from foundation.errors import CoordinatorError
from tenancy import invitations
from tenancy.access import actor, tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import POST, ReadOnlyAdmin, attempt, problem_of, serves
from tenancy.console.lists import ConditionFilter, ExportedList, TenantFilter, text, time
from tenancy.login import Attempt, TokensEndWithPassword
from tenancy.member_pages import GroupsField
from tenancy.models import Invitation, Tenant, validate_identifier
from tenancy.origin import client_address
from tenancy.roles import PURPOSE, Role, Scope

EXPIRED = "expired"
STATES = {"open": "info", "accepted": "success", "withdrawn": "default", EXPIRED: "default"}
MAILS = {"being sent": "info", "sent": "success", "not sent": "danger"}


class NewInvitationForm(forms.Form):
    """The choices of `tenant` are the tenants that the user administers."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), empty_label=None, widget=UnfoldAdminSelectWidget)
    email = forms.CharField(
        label="E-mail address",
        max_length=invitations.LONGEST_ADDRESS,
        widget=UnfoldAdminEmailInputWidget(attrs={"autocomplete": "off"}),
        help_text="The link goes to this address only. A new user gets the address as the name to log in with.",
    )
    roles = forms.MultipleChoiceField(choices=Role.choices())
    groups = GroupsField()

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.ADMINISTER)

    @property
    def role_choices(self) -> list[tuple[str, str, str, bool]]:
        """Return each role with its label and purpose, and True if it is chosen."""
        chosen = set(self.data.getlist("roles")) if self.is_bound else set()  # type: ignore[attr-defined]
        return [(role.value, role.label, PURPOSE[role], role.value in chosen) for role in Role]


class InvitationStateFilter(ConditionFilter):
    title = parameter_name = "state"
    conditions: ClassVar = {
        "open": ("Open", Q(state="OPEN", expires_at__gt=Now())),
        EXPIRED: ("Expired", Q(state="OPEN", expires_at__lte=Now())),
        "accepted": ("Accepted", Q(state="ACCEPTED")),
        "withdrawn": ("Withdrawn", Q(state="WITHDRAWN")),
    }


def state_of(invitation: Invitation) -> str:
    if invitation.state == Invitation.State.OPEN and invitation.expires_at <= timezone.now():
        return EXPIRED
    return invitation.get_state_display().lower()


@admin.register(Invitation)
class InvitationAdmin(ExportedList, ReadOnlyAdmin):
    needs = Scope.AUDIT
    consequence = "Its link stops working. To invite the person again, send another invitation."
    empty = "An invitation gives roles to a person by e-mail, also to a person who has no user yet."
    list_display = ("address", "tenant", "state_shown", "role_list", "mail_shown", "by", "expires")
    list_filter = (InvitationStateFilter, TenantFilter)
    search_fields = ("email",)
    search_help_text = "Search by e-mail address"
    change_list_template = "tenancy/invitation_list.html"
    ordering = ("-created_at", "-id")
    file_name = "invitations"
    exported: ClassVar = {
        "email": lambda row: row.email,
        "tenant": lambda row: row.tenant.slug,
        "state": lambda row: state_of(row),
        "roles": lambda row: row.roles,
        "groups": lambda row: row.groups,
        "mail": lambda row: row.mail,
        "invitedBy": lambda row: row.invited_by,
        "created": lambda row: row.created_at,
        "expires": lambda row: row.expires_at,
        "ended": lambda row: row.ended_at,
    }
    address = text("E-mail address", "email", ordering="email")
    expires = time("Expires", "expires_at", ordering="expires_at")
    by = text("Invited by", "invited_by")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invitation]:
        rows: QuerySet[Invitation] = super().get_queryset(request).select_related("tenant")
        return rows

    @badge("State", STATES)
    def state_shown(self, invitation: Invitation) -> str:
        return state_of(invitation)

    @badge("Delivery", MAILS)
    def mail_shown(self, invitation: Invitation) -> str:
        return invitation.get_mail_display().lower()

    @column("Roles")
    def role_list(self, invitation: Invitation) -> str:
        return ", ".join(Role(role).label for role in invitation.roles)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        more = {"may_change": self.administers(request), "unavailable": invitations.unavailable()}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def show(self, request: HttpRequest, row: Invitation) -> HttpResponse:
        state = state_of(row)
        return self.page(
            request,
            "tenancy/invitation.html",
            title=row.email,
            original=row,
            invitation=row,
            state=state,
            state_colour=STATES[state],
            mail_colour=MAILS[row.get_mail_display().lower()],
            roles=[Role(role).label for role in row.roles],
            may_administer=self.has_scope(request, Scope.ADMINISTER, row),
        )

    @serves("new/", Act.INVITATION_CREATE, Scope.ADMINISTER)
    def new(self, request: HttpRequest) -> HttpResponse:
        """Invite a person."""
        form, error = NewInvitationForm(request), None
        assert isinstance(request.user, User)  # noqa: S101 - the admin requires it
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            roles = [Role(role) for role in given["roles"]]
            tenant, groups, by = given["tenant"], given["groups"], actor(request.user)
            try:
                made = invitations.invite(tenant, given["email"], roles, groups, inviter=request.user, actor=by)
            except CoordinatorError as refused:
                error = refused
            else:
                messages.success(request, f"The invitation goes to {made.email}.")
                return redirect("admin:tenancy_invitation_change", made.pk)
        status = error.status if error else 400 if form.is_bound else 200
        shown = {"form": form, "problem": problem_of(error), "unavailable": invitations.unavailable()}
        return self.page(request, "tenancy/invite.html", status=status, title="Invite a person", **shown)

    @serves("<path:object_id>/withdraw/", Act.INVITATION_WITHDRAW, Scope.ADMINISTER)
    def withdraw(self, request: HttpRequest, row: Invitation) -> HttpResponse:
        if request.method != "POST":
            return self.ask(request, row, "Withdraw the invitation")

        def act() -> str:
            invitations.withdraw(row.tenant, row.pk, actor=actor(request.user))
            return f"The invitation of {row.email} is withdrawn."

        attempt(request, act, "{detail}")
        return redirect("admin:tenancy_invitation_change", row.pk)

    @serves("<path:object_id>/send/", Act.INVITATION_SEND, Scope.ADMINISTER, methods=POST)
    def send(self, request: HttpRequest, row: Invitation) -> HttpResponse:
        def act() -> str:
            invitations.send_again(row.tenant, row.pk, actor=actor(request.user))
            return f"{row.email} gets a new link. The former one does not work any more."

        attempt(request, act, "{detail}")
        return redirect("admin:tenancy_invitation_change", row.pk)


# --- the page of the link ---

FOLLOWED: Final = "invitation"
"""The member of the session with the id of the invitation whose link was followed, and the hash of its token."""
STALE: Final = (
    "Nothing has changed: in the meantime, you have logged in, logged out or opened another invitation in this browser."
)


class NewUserForm(forms.Form):
    """The name and the password of a new user, whose user name is the address of the invitation."""

    first_name = forms.CharField(
        max_length=150,
        required=False,
        validators=[validate_identifier],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "given-name"}),
    )
    last_name = forms.CharField(
        max_length=150,
        required=False,
        validators=[validate_identifier],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "family-name"}),
    )
    password = forms.CharField(
        max_length=4096, strip=False, widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
    )
    repeated = forms.CharField(
        label="Password again",
        max_length=4096,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, data: QueryDict | None, email: str) -> None:
        super().__init__(data)
        self._email = email

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        names = {name: given.get(name, "") for name in ("first_name", "last_name")}
        user = User(username=self._email, email=self._email, **names)
        if "password" in given and given["password"] != given.get("repeated"):
            self.add_error("repeated", "The two passwords are not equal.")
        elif "password" in given:
            try:
                validate_password(given["password"], user)
            except ValidationError as error:
                self.add_error("password", error)
        return given


@never_cache
@sensitive_variables()
def follow(request: HttpRequest, token: str) -> HttpResponseBase:
    """Remember the invitation of a link in the session, and redirect to its page.

    So no page that can fail has the token in its address, which the log would have, and no log-in has it in `next`.
    This accepts nothing, because mail servers follow links. Wrong tokens count as failed log-ins of the address.
    """
    token_hash = invitations.hash_of(token)
    invitation = invitations.find(token_hash)
    if invitation is None:
        Attempt(None, client_address(request.META)).count()
        return _page(request, None, status=404)
    request.session[FOLLOWED] = {"id": str(invitation.pk), "hash": token_hash}
    return redirect("invitation")


@never_cache
@sensitive_post_parameters()
def accept(request: HttpRequest) -> HttpResponseBase:
    """Accept the invitation whose link was followed: join as the user who is logged in, or create one.

    A form says whom and which invitation its page showed: another tab may have changed both since.
    """
    user = request.user if isinstance(request.user, User) and admin.site.has_permission(request) else None
    followed = request.session.get(FOLLOWED)
    invitation = invitations.find(followed["hash"]) if followed else None
    if invitation is None:
        # A sign-in with the identity provider accepts the invitation on the way to this page.
        if followed and user and invitations.is_accepted_by(user, followed["id"]):
            return _joined(request)
        return _page(request, None, status=404)
    shown = f"{invitation.pk} {user.pk if user else ''}"
    is_stale = request.method == "POST" and request.POST.get("shown") != shown
    data = request.POST if request.method == "POST" and not is_stale else None
    page: dict[str, Any] = {"shown": shown, "problem": STALE if is_stale else "", "status": 409 if is_stale else 200}
    if user is not None:
        return _join(request, invitation, user, data, page)
    if invitations.has_user(invitation):
        return _page(request, invitation, **page)
    return _create(request, invitation, data, page)


def _join(
    request: HttpRequest, invitation: Invitation, user: User, data: QueryDict | None, page: dict[str, Any]
) -> HttpResponseBase:
    if data is not None:
        try:
            invitations.accept(invitation.token_hash, user)
        except CoordinatorError as error:
            page |= {"problem": error.detail, "status": error.status}
        else:
            return _joined(request)
    return _page(request, invitation, joins=user, **page)


def _create(
    request: HttpRequest, invitation: Invitation, data: QueryDict | None, page: dict[str, Any]
) -> HttpResponseBase:
    form = NewUserForm(data, invitation.email)
    if form.is_valid():
        values = form.cleaned_data
        names = {name: values[name] for name in ("first_name", "last_name")}
        try:
            user = invitations.accept_as_new(invitation.token_hash, values["password"], **names)
        except CoordinatorError as error:
            page |= {"problem": error.detail, "status": error.status}
        else:
            login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
            return _joined(request)
    elif form.is_bound:
        page["status"] = 400
    return _page(request, invitation, form=form, **page)


def _joined(request: HttpRequest) -> HttpResponseBase:
    request.session.pop(FOLLOWED)
    return redirect("admin:index")


def _page(request: HttpRequest, invitation: Invitation | None, *, status: int = 200, **context: Any) -> HttpResponse:
    request.current_app = admin.site.name
    following = urlencode({"next": reverse("invitation")})
    context |= {
        "invitation": invitation,
        "roles": [Role(role).label for role in invitation.roles] if invitation else [],
        "log_in": f"{reverse('admin:login')}?{following}",
        "rules": [rule for rule in password_validators_help_texts() if rule != TokensEndWithPassword().get_help_text()],
    }
    if settings.OIDC_ISSUER:
        begin = reverse("openid_connect_login", args=[settings.OIDC_PROVIDER])
        context |= {"identity_provider": settings.OIDC_NAME, "identity_provider_url": f"{begin}?{following}"}
    frame = admin.site.each_context(request)
    return TemplateResponse(request, "tenancy/accept_invitation.html", {**frame, **context}, status=status)


urlpatterns = [
    path("admin/invitation/", accept, name="invitation"),
    path("admin/invitation/<str:token>/", follow, name="follow_invitation"),
]
