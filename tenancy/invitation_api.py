"""REST: the invitations of a tenant."""

import uuid
from typing import Any

from django.urls import path
from rest_framework import serializers

from foundation.api.fields import Identifier, StrictSerializer, Text
from tenancy import invitations, members
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.models import MOST_GROUPS, Invitation
from tenancy.roles import Role, Scope, granted
from wire.identity import LONGEST_GROUP


class InvitationView(serializers.Serializer[Invitation]):
    """It has no link: only the e-mail has it."""

    invitationId = serializers.UUIDField(source="id")
    email = serializers.CharField()
    roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices()))
    groups = serializers.ListField(child=serializers.CharField())
    status = serializers.ChoiceField(
        source="state", choices=Invitation.State.choices, help_text="OPEN, also after the end of its time."
    )
    mail = serializers.ChoiceField(choices=Invitation.Mail.choices, help_text="The state of the newest e-mail.")
    mailError = serializers.CharField(source="error", help_text="Why the newest attempt failed; else empty.")
    invitedBy = serializers.CharField(source="invited_by")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")
    endedAt = serializers.DateTimeField(source="ended_at", allow_null=True)


class InvitationRequest(StrictSerializer):
    email = Text(max_length=invitations.LONGEST_ADDRESS, help_text="The address that gets the link.")
    roles = serializers.ListField(
        child=serializers.ChoiceField(choices=Role.choices()),
        min_length=1,
        max_length=len(Role),
        help_text="The roles of the person.",
    )
    groups = serializers.ListField(
        child=Identifier(max_length=LONGEST_GROUP),
        max_length=MOST_GROUPS,
        required=False,
        default=list,
        help_text="The groups of the person.",
    )


@listing("members", Invitation, InvitationView, ordering=("-created_at", "-id"))
@declares(None, Scope.AUDIT)
def all_invitations(view: TenantView) -> Any:
    """The invitations of the tenant, newest first."""
    return invitations.of_tenant(view.tenant)


@operation("members", "invitePerson", {201: InvitationView}, body=InvitationRequest)
@declares(Act.INVITATION_CREATE, Scope.ADMINISTER)
@refuses(
    invitations.InvitationsUnavailable,
    invitations.InvitationInvalid,
    invitations.InvitationOpen,
    invitations.TooManyInvitations,
    members.GroupsInvalid,
)
def invite(view: TenantView, email: str, roles: list[str], groups: list[str]) -> Any:
    """Invite a person by e-mail. The token must allow everything that the roles allow."""
    for scope in sorted(granted(roles)):
        view.require(scope)
    wanted = [Role(role) for role in roles]
    return invitations.invite(view.tenant, email, wanted, groups, inviter=view.token.user, actor=view.actor)


@operation("members", "withdrawInvitation", InvitationView)
@declares(Act.INVITATION_WITHDRAW, Scope.ADMINISTER)
@refuses(invitations.InvitationUnknown, invitations.InvitationOver)
def withdraw(view: TenantView, invitation_id: uuid.UUID) -> Any:
    """End an open invitation. Its link stops working."""
    return invitations.withdraw(view.tenant, invitation_id, actor=view.actor)


@operation("members", "sendInvitation", InvitationView)
@declares(Act.INVITATION_SEND, Scope.ADMINISTER)
@refuses(
    invitations.InvitationsUnavailable,
    invitations.InvitationUnknown,
    invitations.InvitationOver,
    invitations.TooManyInvitations,
)
def send(view: TenantView, invitation_id: uuid.UUID) -> Any:
    """Send a new link, which replaces the former one and works for seven days."""
    return invitations.send_again(view.tenant, invitation_id, actor=view.actor)


urlpatterns = [
    path("invitations", either(all_invitations, invite), name="invitations"),
    path("invitations/<uuid:invitation_id>/withdraw", withdraw, name="withdraw-invitation"),
    path("invitations/<uuid:invitation_id>/send", send, name="send-invitation"),
]
