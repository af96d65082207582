"""Sends allauth's calls of the identity provider through `foundation.exchange`, which vets addresses (ADR 41)."""

import json
from typing import Any

import requests
from django.conf import settings
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from coordinator_client.errors import Broken, NotConnected, TimedOut
from foundation.exchange import TargetRefused, Unreachable, exchange, vet

CONNECT_SECONDS = 2.0
RESPONSE_SECONDS = 5.0
MAX_BYTES = 256 * 1024
HEADERS = ("Accept", "Authorization", "Content-Type")


class VettedTransport(BaseAdapter):
    """Follows no redirect, uses no proxy, reads at most MAX_BYTES, and accepts JSON objects only."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Raises `requests.ConnectionError`, whose message names no secret."""
        body = request.body or b""
        try:
            answer = exchange(
                vet(request.url or "", allowed=settings.OIDC_ALLOWED_NETWORKS),
                request.method or "GET",
                body.encode() if isinstance(body, str) else bytes(body),
                headers={
                    "User-Agent": "durable-coordinator",
                    **{name: str(request.headers[name]) for name in HEADERS if name in request.headers},
                },
                connect_seconds=CONNECT_SECONDS,
                seconds=RESPONSE_SECONDS,
                limit=MAX_BYTES,
                ca_file=settings.OIDC_CA_FILE,
            )
        except (TargetRefused, Unreachable, NotConnected, TimedOut, Broken) as error:
            raise requests.ConnectionError(f"{type(error).__name__}: {error}") from None
        if not answer.complete:
            raise requests.ConnectionError(f"the response has more than {MAX_BYTES} bytes")
        if not _is_object(answer.body):
            raise requests.ConnectionError("the response is not a JSON object")
        response = requests.Response()
        response.status_code, response.url, response.request = answer.status, request.url or "", request
        response.headers = CaseInsensitiveDict(answer.headers)
        response._content, response.encoding = answer.body, "utf-8"
        return response

    def close(self) -> None:
        """Each exchange has closed its connection."""


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def vetted_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.mount("https://", VettedTransport())
    session.mount("http://", VettedTransport())
    return session
