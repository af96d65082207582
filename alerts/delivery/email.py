"""Sends messages as e-mail, with the mail server of the installation."""

import smtplib
from email.utils import make_msgid

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from alerts.delivery.failure import Failure
from alerts.delivery.message import Message
from alerts.models import AlertChannel


def is_configured() -> bool:
    return bool(settings.EMAIL_HOST and settings.DEFAULT_FROM_EMAIL)


def send(channel: AlertChannel, message: Message) -> Failure | None:
    """Send one e-mail to all addresses of the channel. Return None if the mail server accepted it."""
    if not is_configured():
        return Failure("EMAIL_HOST and EMAIL_FROM are not configured", final=True)
    mail = EmailMessage(
        message.headline,
        message.text(),
        settings.DEFAULT_FROM_EMAIL,
        channel.address.split(","),
        # A mail reader shows a repeated message once.
        headers={
            "Message-ID": f"<{message.delivery_id}@{make_msgid().rpartition('@')[2]}",
            "Auto-Submitted": "auto-generated",
        },
        connection=EmailBackend(timeout=settings.EMAIL_TIMEOUT),
    )
    try:
        mail.send()
    except smtplib.SMTPResponseException as error:
        return Failure(f"the mail server responded with {error.smtp_code}", final=False)
    except (smtplib.SMTPException, OSError) as error:
        return Failure(f"the mail server did not accept the message ({type(error).__name__})", final=False)
    return None
