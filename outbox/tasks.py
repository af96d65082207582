"""The task of invitations. It may run twice, at the same time or later."""

from celery import shared_task

from outbox.invitation_mail import OUTBOX
from tenancy.invitations import SEND_TASK


@shared_task(name=SEND_TASK)
def send_invitations() -> None:
    """Send the invitation that has been due for longest, and announce the next one."""
    OUTBOX.send()
