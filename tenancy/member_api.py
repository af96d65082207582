"""REST: the members of a tenant, and their roles."""

from typing import Any

from django.urls import path
from rest_framework import serializers, status
from rest_framework.response import Response

from foundation.api.fields import Identifier, StrictSerializer, Text
from tenancy import members, sessions
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.models import MOST_GROUPS, Membership
from tenancy.roles import GRANTS, Role, Scope
from wire.identity import LONGEST_GROUP

UNKNOWN = "until the tenant's audit log has an entry of the person"


class MemberView(serializers.Serializer[Membership]):
    username = serializers.CharField(help_text="The name with which the person logs in.")
    name = serializers.CharField(source="full_name", help_text=f"Empty {UNKNOWN}.")
    role = serializers.ChoiceField(choices=Role.choices())
    active = serializers.BooleanField(allow_null=True, help_text=f"Whether the person can log in. Null {UNKNOWN}.")
    groups = serializers.ListField(
        child=serializers.CharField(), help_text="The groups of the person, which are those of each of their roles."
    )


class MemberRequest(StrictSerializer):
    username = Text(max_length=members.LONGEST_USERNAME)
    role = serializers.ChoiceField(choices=Role.choices())


class MemberNameRequest(StrictSerializer):
    username = Text(max_length=members.LONGEST_USERNAME)


class MemberNameView(serializers.Serializer[dict[str, Any]]):
    username = serializers.CharField()


class MemberGroupsRequest(StrictSerializer):
    username = Text(max_length=members.LONGEST_USERNAME)
    groups = serializers.ListField(
        child=Identifier(max_length=LONGEST_GROUP), max_length=MOST_GROUPS, help_text="All groups of the person."
    )


class MemberGroupsView(serializers.Serializer[dict[str, Any]]):
    username = serializers.CharField()
    groups = serializers.ListField(child=serializers.CharField(), help_text="Sorted, without repetitions.")


@listing("members", Membership, MemberView, ordering="id")
@declares(None, Scope.AUDIT)
def all_members(view: TenantView) -> Any:
    """The members of the tenant, with an item for each role, in the order in which the roles were given."""
    return members.listed(Membership.objects.filter(tenant=view.tenant))


@operation("members", "addMember", {201: MemberView, 200: MemberView}, body=MemberRequest)
@declares(Act.MEMBERSHIP_ADD, Scope.ADMINISTER)
def add_member(view: TenantView, username: str, role: str) -> Any:
    """Give a person a role. The token must allow everything that the role allows. Repeating it changes nothing.

    If no active user has the name, the role waits until one does. The answer is the same.
    """
    for scope in sorted(GRANTS[Role(role)]):
        view.require(scope)
    member, is_new = members.add(view.tenant, username, Role(role), actor=view.actor)
    return Response(MemberView(member).data, status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)


@operation("members", "removeMember", MemberView, body=MemberRequest)
@declares(Act.MEMBERSHIP_REMOVE, Scope.ADMINISTER)
@refuses(members.MemberUnknown)
def remove_member(view: TenantView, username: str, role: str) -> Any:
    """Take a role from a user. API tokens of the user lose what only this role allows."""
    return members.remove(view.tenant, username, Role(role), actor=view.actor)


@operation("members", "setMemberGroups", MemberGroupsView, body=MemberGroupsRequest)
@declares(Act.MEMBERSHIP_CHANGE, Scope.ADMINISTER)
@refuses(members.MemberUnknown)
def set_groups(view: TenantView, username: str, groups: list[str]) -> Any:
    """Replace the groups of a person. Members with a group may answer the questions that are for this group."""
    return {"username": username, "groups": members.set_groups(view.tenant, username, groups, actor=view.actor)}


@operation("members", "endMemberSessions", MemberNameView, body=MemberNameRequest)
@declares(Act.USER_END_SESSIONS, Scope.ADMINISTER)
@refuses(members.MemberUnknown)
def end_sessions(view: TenantView, username: str) -> Any:
    """End the sessions of a person in the console, who must log in again. API tokens remain.

    It has no effect on people with roles in other tenants and on superusers. The answer is the same, and does not tell
    whether there were sessions.
    """
    sessions.end_of_member(view.tenant, username, actor=view.actor)
    return {"username": username}


urlpatterns = [
    path("members", either(all_members, add_member), name="members"),
    path("members/remove", remove_member, name="remove-member"),
    path("members/end-sessions", end_sessions, name="end-member-sessions"),
    path("members/groups", set_groups, name="member-groups"),
]
