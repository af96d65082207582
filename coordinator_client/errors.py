"""Why a call of the API failed. Messages may contain text of the server, which is untrusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LONGEST = 4000


class ClientError(Exception):
    """A call of the API failed, or what it needs is missing or not valid."""


class Unreachable(ClientError):
    """No valid response arrived. If the request was sent, the server may have carried it out."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Refused(ClientError):
    """The server responded with an unexpected status. `problem` is its problem document, or empty."""

    def __init__(self, status: int, headers: Mapping[str, str], problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", ""))[:100]
        self.detail = str(problem.get("detail") or problem.get("title") or "no detail")[:_LONGEST]
        self.retry_after = _seconds(headers.get("retry-after") or "")
        self.fields = list(_fields(problem.get("errors")))
        if 300 <= status < 400:
            where = (headers.get("location") or "another address")[:200]
            super().__init__(f"the server redirects to {where} with status {status}; give its final address as --url")
        else:
            super().__init__("\n".join([f"{status} {self.code}: {self.detail}", *self.fields]))


def _fields(errors: object) -> list[str]:
    """Return a line for each of the first errors of members."""
    found = errors[:50] if isinstance(errors, list) else []
    return [
        f"  {each.get('field', '')}: {each.get('message', '')}"[:_LONGEST] for each in found if isinstance(each, dict)
    ]


def _seconds(text: str) -> float | None:
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 10 else None
