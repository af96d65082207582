"""Gives back what is attached to releases."""

from django.http import HttpResponse

from releases.models import Attachment


def download(attachment: Attachment) -> HttpResponse:
    """Somebody else's JSON: to be saved, and never shown or run by a browser."""
    name = f"{attachment.kind}-{attachment.digest.removeprefix('sha256:')[:12]}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(bytes(attachment.content), content_type="application/json", headers=headers)
