"""`coordinator probe`: tells whether a process on this host works, for supervisors that run a command."""

from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from coordinator.models import Process

WEB_URL = "http://127.0.0.1:8000/health/live"
SECONDS = 5.0


class _NoRedirects(HTTPRedirectHandler):
    """A redirect to HTTPS is a response: the process serves requests."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


class Command(BaseCommand):
    help = (
        "Exit with 0 if the process of this kind works, else with 1 and the reason. A web process is asked for"
        f" {WEB_URL}, the others at /live of METRICS_HOST and METRICS_PORT."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=[kind.value for kind in Process.Kind], help="the kind of the process")
        parser.add_argument("--url", help="ask there instead")

    def handle(self, *args: Any, kind: str, url: str | None, **options: Any) -> None:
        address = url or (WEB_URL if kind == Process.Kind.WEB else _live_url())
        if not address.startswith(("http://", "https://")):
            raise CommandError("--url must be an http or https URL.")
        host = next((name.lstrip(".") for name in settings.ALLOWED_HOSTS if name != "*"), "localhost")
        request = Request(address, headers={"Host": host})  # noqa: S310 - its scheme is checked above
        try:
            with build_opener(_NoRedirects).open(request, timeout=SECONDS) as response:
                self.stdout.write(response.read(200).decode(errors="replace").strip())
        except HTTPError as error:
            if error.code >= 500 or error.code == 404:
                reason = error.read(200).decode(errors="replace").strip()
                raise CommandError(f"{address} responded with {error.code}: {reason}") from None
            self.stdout.write(f"{address} responded with {error.code}.")
        except (URLError, HTTPException, OSError) as error:
            raise CommandError(f"{address} does not respond: {getattr(error, 'reason', error)}") from None


def _live_url() -> str:
    if not settings.METRICS_PORT:
        raise CommandError("METRICS_PORT is not set, so the process serves no /live.")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.METRICS_HOST, settings.METRICS_HOST)  # noqa: S104 # nosec B104
    return f"http://{host}:{settings.METRICS_PORT}/live"
