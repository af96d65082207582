"""One attempt to send a message: as a signed HTTP request to an address that is checked first, or as e-mail."""

import hashlib
import hmac
import smtplib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import make_msgid
from typing import Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.utils import timezone

from coordinator_client.errors import Broken, NotConnected, TimedOut
from foundation.exchange import MOST_ADDRESSES, Resolve, TargetRefused, Unreachable, exchange, vet
from wire.resume_token import derived

SIGNATURE_HEADER: Final = "X-Coordinator-Signature"
MARGIN_SECONDS: Final = 5
TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `reason` contains no secret. If `final` is true, another attempt cannot help."""

    reason: str
    final: bool = False


def sending_seconds() -> int:
    """Return how long one attempt may take: to connect to each address, to wait for the response, and a margin."""
    return int(TIMEOUT_SECONDS * (MOST_ADDRESSES + 1)) + MARGIN_SECONDS


def webhook_keys(tenant_id: str) -> list[str]:
    """Return the keys that sign the tenant's webhooks, one for each active secret, that of WORKER_SECRET first."""
    roots = (settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS)
    return [derived(root, f"webhook:{tenant_id}") for root in roots]


def signed(body: bytes, keys: Iterable[str]) -> dict[str, str]:
    """Return the header that signs the body now: `t=` with epoch seconds, and one `v1=` for each key.

    A signature is HMAC-SHA256 in hexadecimal over the seconds, a dot, and the body.
    """
    moment = int(timezone.now().timestamp())
    text = f"{moment}.".encode() + body
    signatures = (hmac.new(key.encode(), text, hashlib.sha256).hexdigest() for key in keys)
    return {SIGNATURE_HEADER: ",".join([f"t={moment}", *(f"v1={each}" for each in signatures)])}


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    message_id: str,
    resolve: Resolve,
    names_receiver: bool = False,
) -> Failure | None:
    """Send JSON to a URL that a tenant chose. Return None if the receiver accepted it. The response is not read.

    The failure names the receiver only with `names_receiver`: the URL may be a secret.
    """
    try:
        target = vet(url, allowed=settings.WEBHOOK_ALLOWED_NETWORKS, resolve=resolve)
        response = exchange(
            target,
            "POST",
            body,
            headers={
                "Content-Type": "application/json",
                "User-Agent": "durable-coordinator",
                "Idempotency-Key": message_id,
                **headers,
            },
            connect_seconds=TIMEOUT_SECONDS,
            seconds=TIMEOUT_SECONDS,
            limit=None,
            ca_file=settings.WEBHOOK_CA_FILE,
        )
    except TargetRefused as error:
        return Failure(str(error) if names_receiver else "the address of the receiver may not be called", final=True)
    except Unreachable as error:
        return Failure(str(error) if names_receiver else "the name of the receiver does not resolve")
    except TimedOut:
        return Failure("the receiver took too long to respond")
    except NotConnected as error:
        return Failure(f"no connection to the receiver{f': {error}' if names_receiver else ''}")
    except Broken as error:
        return Failure(str(error) if names_receiver else "the connection to the receiver was lost")
    if 200 <= response.status < 300:
        return None
    return Failure(f"the receiver responded with status {response.status}")


def mail(addresses: list[str], subject: str, text: str, *, message_id: str) -> Failure | None:
    """Send one e-mail to all addresses. Return None if the mail server of the installation accepted it."""
    if not (settings.EMAIL_HOST and settings.DEFAULT_FROM_EMAIL):
        return Failure("EMAIL_HOST and EMAIL_FROM are not configured", final=True)
    made = EmailMessage(
        subject,
        text,
        settings.DEFAULT_FROM_EMAIL,
        addresses,
        # A mail reader shows a repeated message once.
        headers={
            "Message-ID": f"<{message_id}@{make_msgid().rpartition('@')[2]}",
            "Auto-Submitted": "auto-generated",
        },
        connection=EmailBackend(timeout=TIMEOUT_SECONDS),
    )
    try:
        made.send()
    except smtplib.SMTPResponseException as error:
        return Failure(f"the mail server responded with {error.smtp_code}")
    except (smtplib.SMTPException, OSError) as error:
        return Failure(f"the mail server did not accept the message ({type(error).__name__})")
    return None
