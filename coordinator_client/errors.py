"""Why a call of the API failed. Messages may contain text of the server, which is untrusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LONGEST = 4000


class ClientError(Exception):
    """A call of the API failed, or what it needs is missing or not valid."""


class Unreachable(ClientError):
    """No valid response arrived. The server may have carried the request out."""


class NotConnected(Unreachable):
    """No connection could be opened. Nothing was sent."""


class TimedOut(Unreachable):
    """No complete response arrived in time."""


class Broken(Unreachable):
    """The connection was lost, or the response is not HTTP."""


class NotSent(Broken):
    """The connection was lost before the request was sent. The server has not received all of it."""


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
            super().__init__("\n".join([f"{status} {self.code}".rstrip() + f": {self.detail}", *self.fields]))


def _fields(errors: object) -> list[str]:
    found = errors[:50] if isinstance(errors, list) else []
    return [
        f"  {each.get('field', '')}: {each.get('message', '')}"[:_LONGEST] for each in found if isinstance(each, dict)
    ]


def _seconds(text: str) -> float | None:
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 10 else None
