"""Invitations: a tenant gives roles to the person who reads the mail of an address.

Only the e-mail has the link. The coordinator shows it nowhere else, so that an inviter can neither take the name of
another person nor learn who is a user. The name of a new user is the address, so no person can choose a
name for which another tenant keeps roles. `outbox.invitation_mail` sends the e-mails.
"""

import hashlib
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.contrib.postgres.functions import TransactionNow
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from foundation import wakeup
from foundation.database.postgresql.outage import refused_by
from foundation.errors import Conflict, CoordinatorError, NotFound, Unprocessable
from tenancy import audit, members
from tenancy.access import actor_named, record_of_user, require
from tenancy.audit.acts import Act
from tenancy.models import Invitation, Tenant
from tenancy.roles import Role, Scope, granted

SEND_TASK: Final = "outbox.invitations"
LIFETIME: Final = timedelta(days=7)
PAUSE: Final = timedelta(minutes=5)
"""The least time between two requests to send an invitation."""
KEPT_DAYS: Final = 90
"""How long an invitation is kept after it was accepted, was withdrawn or expired. The database removes none earlier."""
REMOVED_AT_ONCE: Final = 1000
MOST_PER_HOUR: Final = 50
MOST_OPEN: Final = 200
LONGEST_ADDRESS: Final = 150
NO_STANDING: Final = "the inviter may not give these roles any more"
State, Mail = Invitation.State, Invitation.Mail
# Locks of this class make the invitations of a tenant one after the other, so that its limits hold.
_LOCK: Final = "SELECT pg_advisory_xact_lock(7310, %s)"
# Removes a batch of old invitations. Those that another process removes are left out.
_REMOVE_OLD: Final = """
DELETE FROM tenancy_invitation WHERE id IN (
    SELECT id FROM tenancy_invitation WHERE coalesce(ended_at, expires_at) < now() - make_interval(days => %s)
    LIMIT %s FOR UPDATE SKIP LOCKED)
"""


class InvitationsUnavailable(Conflict, title="This installation cannot send invitations"):
    """Ask an administrator to set up e-mail, or add an existing user."""


class InvitationInvalid(Unprocessable, title="The invitation is not valid"):
    """Correct the members that `errors` names."""


class InvitationOpen(Conflict, title="The address has an open invitation"):
    """Send the open invitation again, or withdraw it."""


class InvitationOver(Conflict, title="The invitation is over"):
    """Make a new invitation."""


class InvitationUnknown(NotFound, title="The tenant has no such invitation"):
    """Check the id in the list of invitations."""


class TooManyInvitations(CoordinatorError, status=429, title="There are too many invitations"):
    """Withdraw open invitations, or try again later."""


class UserExists(Conflict, title="There is already a user with this name"):
    """Log in with the existing user, or choose another name."""


def unavailable() -> str:
    """Return why no invitation can be sent; "" if they can."""
    missing = [name for name in ("EMAIL_HOST", "PUBLIC_URL") if not getattr(settings, name)]
    return f"Invitations are sent by e-mail. Set {' and '.join(missing)} for all processes." if missing else ""


def invite(
    tenant: Tenant, email: str, roles: Collection[Role], groups: Collection[str], *, inviter: User, actor: str
) -> Invitation:
    """Create an invitation, and send it after the commit.

    `inviter` must hold every scope that the roles grant, now and when the invitation is accepted. Raises
    `InvitationsUnavailable`, `InvitationInvalid`, `GroupsInvalid`, `InvitationOpen`, `TooManyInvitations`, and as
    `access.require` does.
    """
    if reason := unavailable():
        raise InvitationsUnavailable(reason)
    address, names = _address(email), [role for role in Role if role in set(roles)]
    if not names:
        raise _invalid("roles", "must have at least one role")
    wanted = members.valid_groups(groups)
    for scope in sorted({Scope.ADMINISTER, *granted(names)}):
        require(inviter, tenant, scope)
    taken = InvitationOpen(f"{address} has an open invitation. Send it again, or withdraw it first.")
    with refused_by({"invitation_open_once"}, lambda: taken), transaction.atomic():
        _require_room(tenant)
        if Invitation.objects.filter(tenant=tenant, state=State.OPEN, expires_at__gt=Now()).count() >= MOST_OPEN:
            raise TooManyInvitations(f"A tenant has at most {MOST_OPEN} open invitations. Withdraw some first.")
        made = Invitation.objects.create(
            tenant=tenant,
            email=address,
            roles=[role.value for role in names],
            groups=wanted,
            inviter=inviter,
            invited_by=actor,
            expires_at=Now() + LIFETIME,
        )
        wakeup.send(SEND_TASK)
        audit.record(Act.INVITATION_CREATE, tenant=tenant, actor=actor, object=address, roles=made.roles, groups=wanted)
    return Invitation.objects.select_related("tenant").get(pk=made.pk)


def _address(email: str) -> str:
    """Return the address in lower case. It must also be a valid user name."""
    address = email.strip().lower()
    try:
        validate_email(address)
        UnicodeUsernameValidator()(address)
    except ValidationError:
        raise _invalid("email", "must be an e-mail address of letters, digits and @ . + - _") from None
    if not address.isascii() or len(address) > LONGEST_ADDRESS:
        raise _invalid("email", f"must be an e-mail address of at most {LONGEST_ADDRESS} ASCII characters")
    return address


def _invalid(field: str, rule: str) -> InvitationInvalid:
    return InvitationInvalid(f"{field} {rule}", errors=[{"field": field, "code": "INVALID", "message": rule}])


def _require_room(tenant: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [tenant.pk])
    sent, since = Invitation.objects.filter(tenant=tenant), Now() - timedelta(hours=1)
    sent_again = sent.filter(state=State.OPEN, created_at__lte=since, requested_at__gt=since)
    if sent.filter(created_at__gt=since).count() + sent_again.count() >= MOST_PER_HOUR:
        raise TooManyInvitations(f"A tenant sends at most {MOST_PER_HOUR} invitations an hour.")


def withdraw(tenant: Tenant, invitation_id: Any, *, actor: str) -> Invitation:
    """End an open invitation: its link stops working. Raises `InvitationUnknown` and `InvitationOver`."""
    return _change(tenant, invitation_id, Act.INVITATION_WITHDRAW, Q(), actor, state=State.WITHDRAWN)


def send_again(tenant: Tenant, invitation_id: Any, *, actor: str) -> Invitation:
    """Send a new link, which replaces the former one and works for the full time.

    Raises `InvitationsUnavailable`, `InvitationUnknown`, `InvitationOver`, also if the inviter may not grant its roles
    any more, and `TooManyInvitations`, also within PAUSE after the last request.
    """
    if reason := unavailable():
        raise InvitationsUnavailable(reason)
    invitation = Invitation.objects.select_related("tenant", "inviter").filter(tenant=tenant, pk=invitation_id).first()
    if invitation is not None and not has_standing(invitation):
        raise InvitationOver(f"{NO_STANDING.capitalize()}. Withdraw the invitation, and make a new one.")
    return _change(
        tenant,
        invitation_id,
        Act.INVITATION_SEND,
        Q(requested_at__lt=Now() - PAUSE),
        actor,
        expires_at=Now() + LIFETIME,
        requested_at=TransactionNow(),
        mail=Mail.PENDING,
        attempts=0,
        next_at=TransactionNow(),
        error="",
    )


def _change(tenant: Tenant, invitation_id: Any, act: Act, condition: Q, actor: str, **changes: Any) -> Invitation:
    """Change an open invitation that fulfils the condition. No row: it is over, or was sent too recently."""
    rows = Invitation.objects.filter(tenant=tenant, pk=invitation_id)
    with transaction.atomic():
        if act == Act.INVITATION_SEND:
            _require_room(tenant)
        if not rows.filter(condition, state=State.OPEN).update(**changes):
            _refuse(rows.first())
        invitation = rows.select_related("tenant").get()
        if act == Act.INVITATION_SEND:
            wakeup.send(SEND_TASK)
        audit.record(act, tenant=tenant, actor=actor, object=invitation.email)
    return invitation


def _refuse(invitation: Invitation | None) -> None:
    if invitation is None:
        raise InvitationUnknown("The tenant has no such invitation.")
    if invitation.state != State.OPEN:
        raise InvitationOver(
            f"The invitation of {invitation.email} is {invitation.get_state_display().lower()} already."
        )
    raise TooManyInvitations(f"The invitation was sent less than {PAUSE.seconds // 60} minutes ago.")


def of_tenant(tenant: Tenant) -> QuerySet[Invitation]:
    return Invitation.objects.filter(tenant=tenant).select_related("tenant")


def remove_old(limit: int = REMOVED_AT_ONCE) -> int:
    """Remove at most `limit` invitations that ended more than KEPT_DAYS ago. Return their number."""
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE_OLD, [KEPT_DAYS, limit])
        return int(cursor.rowcount)


# --- accepting ---


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _acceptable() -> QuerySet[Invitation]:
    return Invitation.objects.filter(state=State.OPEN, expires_at__gt=Now()).select_related("tenant", "inviter")


def find(token_hash: str) -> Invitation | None:
    """Return the invitation whose token has this hash.

    Return None if it is over, expired, or its inviter may not grant it any more.
    """
    invitation = _acceptable().filter(token_hash=token_hash).first()
    return invitation if invitation is not None and has_standing(invitation) else None


def has_standing(invitation: Invitation) -> bool:
    """True if the inviter may still give the roles."""
    inviter = invitation.inviter
    scopes = {Scope.ADMINISTER, *granted(invitation.roles)}
    held = members.scopes_of(invitation.tenant, inviter.username)
    return inviter.is_active and (inviter.is_superuser or scopes <= held)


def has_user(invitation: Invitation) -> bool:
    """True if a user has the address as name, in any case. The user may be deactivated."""
    return User.objects.filter(username__iexact=invitation.email).exists()


def accept(token_hash: str, user: User) -> Invitation:
    """Give the roles to a user who has followed the link and is logged in. Raises `InvitationOver`, `GroupsInvalid`."""
    with transaction.atomic():
        # The sign-in with the identity provider locks in this order, too.
        User.objects.select_for_update().get(pk=user.pk)
        invitation = _locked(token_hash)
        _give(invitation, user.get_username())
        _end(invitation, user)
    return invitation


def accept_as_new(token_hash: str, password: str, *, first_name: str, last_name: str) -> User:
    """Create the user whose name and verified e-mail is the address, and give the roles.

    The caller has validated the password. Raises `InvitationOver`, `GroupsInvalid` and `UserExists`.
    """
    exists = UserExists("There is already a user with this name. Log in to accept the invitation.")
    with refused_by({"auth_user_username_key"}, lambda: exists), transaction.atomic():
        invitation = _locked(token_hash)
        if has_user(invitation):
            raise exists
        # The roles wait for the name until the next statement, so that entries of the tenant's chain come first.
        _give(invitation, invitation.email)
        user = User.objects.create_user(
            invitation.email,
            invitation.email,
            password,
            is_staff=True,
            first_name=first_name,
            last_name=last_name,
        )
        _end(invitation, user)
        record_of_user(Act.USER_CREATE, user, invitation=str(invitation.pk))
    return user


def is_accepted_by(user: User, invitation_id: str) -> bool:
    return Invitation.objects.filter(pk=invitation_id, user=user).exists()


def locked_of(email: str) -> list[Invitation]:
    """Return the invitations of an address that can be accepted, locked until the end of the transaction.

    The address must be verified. One with other letters than ASCII has none: in lower case, it may be another address.
    """
    rows = _acceptable().filter(email=email.lower() if email.isascii() else "")
    return [
        invitation
        for invitation in rows.order_by("tenant", "pk").select_for_update(of=("self",))
        if has_standing(invitation)
    ]


def accept_each(invitations: Collection[Invitation], user: User) -> None:
    """Accept locked invitations of an address that an identity provider has verified to be the user's.

    One whose groups are too many for the user stays open: no tenant may keep people from signing in.
    """
    for invitation in invitations:
        with suppress(members.GroupsInvalid):
            _give(invitation, user.get_username())
            _end(invitation, user)


def _locked(token_hash: str) -> Invitation:
    invitation = _acceptable().filter(token_hash=token_hash).select_for_update(of=("self",)).first()
    if invitation is None or not has_standing(invitation):
        raise InvitationOver("The invitation is over. Ask a tenant admin for a new one.")
    return invitation


def _give(invitation: Invitation, username: str) -> None:
    """Give the roles and groups, which add to those that the name has. The person is the actor in the audit log.

    Raises `GroupsInvalid`, and then has changed nothing.
    """
    tenant, by = invitation.tenant, actor_named(username)
    # Before the first entry in the audit log: acts of others on these rows lock the row first, and then the log.
    held = members.named(tenant, username).select_for_update(of=("self",)).order_by("pk")
    groups = members.valid_groups(set(invitation.groups).union(*(row.groups for row in held)))
    for role in invitation.roles:
        members.add(tenant, username, Role(role), actor=by)
    members.set_groups(tenant, username, groups, actor=by)
    audit.record(
        Act.INVITATION_ACCEPT, tenant=tenant, actor=by, object=invitation.email, invitedBy=invitation.invited_by
    )


def _end(invitation: Invitation, user: User) -> None:
    Invitation.objects.filter(pk=invitation.pk, state=State.OPEN).update(state=State.ACCEPTED, user=user)
