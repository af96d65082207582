"""The task of invitations. It may run twice, at the same time or later."""

from celery import shared_task


@shared_task(name="outbox.invitations")  # `tenancy.invitations.SEND_TASK`
def send_invitations() -> None:
    """Send the invitation that has been due for longest, and announce the next one."""
    from outbox.invitation_mail import OUTBOX  # many installations send none

    OUTBOX.send()
