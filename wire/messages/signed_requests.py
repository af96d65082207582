"""Requests to REST workers: their signatures (wire protocol D.3, D.4), and members that a side does not know. Pure."""

import hashlib
import hmac
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

TIMESTAMP, NONCE, SIGNATURE = "X-TPF-Worker-Timestamp", "X-TPF-Worker-Nonce", "X-TPF-Worker-Signature"


def signature(secret: str, method: str, path: str, timestamp: str, nonce: str, body: bytes) -> str:
    """Return the signature of a request (wire protocol D.3).

    `path` is the path of the protocol, without a base path.
    """
    canonical = "\n".join((method.upper(), path, timestamp, nonce, hashlib.sha256(body).hexdigest()))
    return hmac.new(secret.encode(), canonical.encode(), hashlib.sha256).hexdigest()


def signed_headers(secret: str, method: str, path: str, body: bytes, *, now: datetime) -> dict[str, str]:
    """Return the headers of one request, with a new nonce."""
    timestamp = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    nonce = str(uuid.uuid4())
    headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if method == "POST" else {})
    return headers | {
        TIMESTAMP: timestamp,
        NONCE: nonce,
        SIGNATURE: signature(secret, method, path, timestamp, nonce, body),
    }


class Refused(Exception):
    """A request is rejected. The text is only for the log."""


def check_signature(
    secret: str, method: str, path: str, headers: Mapping[str, str], body: bytes, *, now: datetime, tolerance: timedelta
) -> tuple[str, datetime]:
    """Return the nonce and the time of a request with a valid signature (wire protocol D.4).

    Raises `Refused`, also if the time differs from `now` by more than `tolerance`.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    timestamp, nonce, received = (lower.get(name.lower()) or "" for name in (TIMESTAMP, NONCE, SIGNATURE))
    if not (timestamp.strip() and nonce.strip() and received.strip()):
        raise Refused("a signature header is missing")
    sent = _instant(timestamp)
    if sent is None or abs(now - sent) > tolerance:
        raise Refused("the timestamp is not an instant, or too far from the present")
    expected = signature(secret, method, path, timestamp, nonce, body)
    if not hmac.compare_digest(expected.encode(), received.encode("utf-8", "surrogateescape")):
        raise Refused("the signature is wrong")
    return nonce, sent


def _instant(text: str) -> datetime | None:
    """Return the ISO 8601 instant in `text`; None for a date, a number or a time without an offset."""
    try:
        moment = datetime.fromisoformat(text) if "T" in text.upper() else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


MOST_NAMES = 100
LONGEST_NAME = 100


def unknown_members(message: BaseModel) -> list[str]:
    """Return the names of the unknown members of a message and of its parts, in any order. Names may repeat."""
    names: list[str] = []
    rest = [message]
    while rest:
        part = rest.pop()
        if part.__pydantic_extra__:
            names += part.__pydantic_extra__
        for value in vars(part).values():
            if isinstance(value, list):
                rest += [item for item in value if isinstance(item, BaseModel)]
            elif isinstance(value, BaseModel):
                rest.append(value)
    return names


class NewNames:
    """Remembers which names were logged: at most MOST_NAMES, because senders choose them."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def among(self, names: Iterable[str]) -> list[str]:
        """Return the names that were not returned before, each once, shortened and escaped."""
        found = []
        for name in names:
            if len(self._known) >= MOST_NAMES:
                break
            escaped = ascii(name[:LONGEST_NAME])
            if escaped not in self._known:
                self._known.add(escaped)
                found.append(escaped)
        return found
