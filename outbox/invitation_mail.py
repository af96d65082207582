"""Sends invitations by e-mail (`tenancy.invitations`).

Each attempt makes a new token, whose hash replaces the former one before the e-mail is sent. So no row, no message of
the broker and no log line has a token, and only the newest link works.
"""

import secrets
import uuid
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.functions import TransactionNow
from django.db import connection
from django.urls import reverse

from outbox.outbox import Failure, Message, Outbox, Receipt, mail
from tenancy.invitations import NO_STANDING, SEND_TASK, has_standing, hash_of
from tenancy.models import Invitation
from tenancy.roles import PURPOSE, Role

LONGEST_DELAY: Final = timedelta(minutes=15)

# Claims the invitation that has been due for longest, for one attempt. No row: none is due.
CLAIM = """
UPDATE tenancy_invitation i SET attempts = i.attempts + 1, next_at = now() + make_interval(secs => %(lease)s)
WHERE i.id = (
    SELECT c.id FROM tenancy_invitation c
    WHERE c.state = 'OPEN' AND c.mail = 'PENDING' AND c.next_at <= now() AND NOT c.tenant_id = ANY(%(full)s::bigint[])
    ORDER BY c.next_at, c.id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING i.id, i.tenant_id
"""

# Records the result of an attempt. No row: the invitation is over, or a newer attempt or request has started.
RECORD = """
UPDATE tenancy_invitation SET mail = %(mail)s, error = %(error)s, next_at = now() + coalesce(%(wait)s::interval, '0')
WHERE id = %(id)s AND state = 'OPEN' AND mail = 'PENDING' AND attempts = %(attempt)s AND requested_at = %(requested)s
"""


def _is_due() -> bool:
    return Invitation.objects.filter(state="OPEN", mail="PENDING", next_at__lte=TransactionNow()).exists()


def _load(claimed: uuid.UUID) -> Message:
    invitation = Invitation.objects.select_related("tenant", "inviter").get(pk=claimed)
    return Message(
        name=f"Invitation {claimed}",
        attempt=invitation.attempts,
        most_attempts=settings.WEBHOOK_ATTEMPTS,
        error=invitation.error,
        send=lambda resolve: _send(invitation),
        record=lambda receipt: _record(invitation, receipt),
    )


OUTBOX: Final = Outbox(task=SEND_TASK, claim=CLAIM, is_due=_is_due, load=_load, longest_delay=LONGEST_DELAY)


def _send(invitation: Invitation) -> Failure | None:
    if not has_standing(invitation):
        return Failure(NO_STANDING, final=True)
    token = secrets.token_urlsafe(32)
    this = {"attempts": invitation.attempts, "requested_at": invitation.requested_at}
    if not Invitation.objects.filter(pk=invitation.pk, state="OPEN", **this).update(token_hash=hash_of(token)):
        return Failure("the invitation is over, or a newer attempt has started", final=True)
    subject = f"Invitation to {invitation.tenant.name}"
    text = text_of(invitation, f"{settings.PUBLIC_URL}{reverse('follow_invitation', args=[token])}")
    # Each e-mail has another link, so a mail reader must show all of them.
    return mail([invitation.email], subject, text, message_id=str(uuid.uuid4()))


def text_of(invitation: Invitation, link: str) -> str:
    """Return the body of the e-mail."""
    roles = [Role(role) for role in invitation.roles]
    lines = [
        f"{_named(invitation.inviter)} invites you to {invitation.tenant.name} on {settings.PUBLIC_URL}"
        " with these roles:",
        "",
        *(f"- {role.label}: {PURPOSE[role]}" for role in roles),
        "",
        "To accept, open this link:",
        link,
        "",
        f"It works once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC, and is for you alone. Do not forward it.",
        "If you do not know the sender, ignore this e-mail.",
    ]
    return "\n".join(lines) + "\n"


def _named(inviter: User) -> str:
    """Return the user name, which the person did not choose, after the full name, which they may have chosen."""
    name = inviter.get_full_name()
    return f"{name} ({inviter.get_username()})" if name else inviter.get_username()


def _record(invitation: Invitation, receipt: Receipt) -> None:
    result = "PENDING" if receipt.wait is not None else "FAILED" if receipt.error else "SENT"
    row: dict[str, Any] = {
        "id": invitation.pk,
        "attempt": invitation.attempts,
        "requested": invitation.requested_at,
        "mail": result,
        "error": receipt.error,
        "wait": receipt.wait,
    }
    with connection.cursor() as cursor:
        cursor.execute(RECORD, row)
