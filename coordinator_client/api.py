"""Calls of the REST API of a coordinator: bounded in size and time, without redirects, proxies and retries."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from coordinator_client.errors import ClientError, NotConnected, Refused, Unreachable
from coordinator_client.http import Body, Idle, Response, opened

SECONDS: Final = 120.0
"""How long one request may take, unless the caller says otherwise."""
MOST_BYTES: Final = 64 * 2**20
"""The largest response."""
LARGEST_FILE: Final = 8 * 2**30
"""The largest download."""
DOWNLOAD_FACTOR: Final = 30
"""How much longer a download may take."""
PAGE: Final = 500
ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "DLQ", "CANCELLED"})
"""The statuses of executions that have ended."""
_EXPECTED: Final = (200, 201, 202)


@dataclass(frozen=True, slots=True)
class Connection:
    """A tenant of a coordinator, and a token of it. `repr` omits the token. `seconds` limit each request."""

    url: str
    tenant: str
    token: str = field(repr=False)
    ca_file: str = ""
    seconds: float = SECONDS

    def address(self, request: Request) -> str:
        url = self.url.rstrip("/")
        if request.path.startswith("/"):
            return f"{url}{request.target}"
        return f"{url}/api/v1/tenants/{path(self.tenant)}/{request.target}"

    def headers(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request, with the token. A header that is empty is not sent."""
        every = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {self.token}",
            "User-Agent": "durable-pipelines",
            **more,
        }
        return {name: value for name, value in every.items() if value}


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` is below the tenant's address, or, with a slash in front, below that of the coordinator.

    `body` is a JSON document, or its bytes. `seconds` limits the request if the connection would permit more.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    seconds: float = float("inf")

    @property
    def target(self) -> str:
        """The path with the query. Members of the query that are None are omitted."""
        pairs = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in self.query.items()
            if value is not None
        }
        return self.path + (f"?{urlencode(pairs)}" if pairs else "")

    @property
    def content(self) -> bytes:
        if self.body is None or self.method == "GET":
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def path(*segments: str) -> str:
    """Return a path of these segments, quoted. Raises `ClientError` for a segment that a server would resolve."""
    for part in segments:
        if part in {"", ".", ".."}:
            raise ClientError("a name or id may not be empty, '.' or '..'")
    return "/".join(quote(part, safe=":") for part in segments)


def operation_key() -> str:
    """Return a new operation key, which makes a request safe to repeat."""
    return secrets.token_hex(16)


class Client:
    """Calls the API. Every method raises `ClientError`; `Refused` for a response with another status than 2xx.

    Connections are kept in `idle`, if it is given.
    """

    def __init__(self, connection: Connection, idle: Idle | None = None) -> None:
        self.connection = connection
        self._idle = idle

    def get(self, target: str, **query: Any) -> dict[str, Any]:
        return self.call(Request("GET", target, query))

    def call(self, request: Request) -> dict[str, Any]:
        """Send a request, and return the JSON object of the response."""
        content = request.content
        headers = {"Content-Type": "application/json"} if content else {}
        seconds = min(self.connection.seconds, request.seconds)
        with self.opened(request, headers, content, seconds=seconds, idle=self._idle) as response:
            return document_of(response.status, response.headers, response.body(MOST_BYTES))

    def upload(self, target: str, body: Body, content_type: str) -> dict[str, Any]:
        """Post a body that is produced while it is sent, and return the JSON object of the response."""
        with self.opened(Request("POST", target), {"Content-Type": content_type}, body) as response:
            return document_of(response.status, response.headers, response.body(MOST_BYTES))

    def download(self, request: Request, receive: Callable[[bytes], object]) -> None:
        """Pass the body of the response to `receive` in pieces."""
        silent_seconds = self.connection.seconds
        seconds = silent_seconds * DOWNLOAD_FACTOR
        with self.opened(request, {"Accept": "*/*"}, seconds=seconds, silent_seconds=silent_seconds) as response:
            if response.status != 200:
                raise refused(response)
            if not response.has_end:  # such as one that ended within its headers
                raise Unreachable("the response has no length")
            received = 0
            for piece in response.pieces():
                received += len(piece)
                if received > LARGEST_FILE:
                    raise Unreachable("the download is too large")
                receive(piece)

    def ready(self) -> dict[str, Any]:
        """Return the health of the web process, also if it is not ready. Sends no token."""
        request = Request("GET", "/health/ready")
        with self.opened(request, {"Authorization": ""}, seconds=self.connection.seconds) as response:
            document = _object(response.body(MOST_BYTES))
            if document is None or response.status not in {200, 503}:
                raise Refused(response.status, response.headers, document or {})
            return document

    def pages(self, target: str, query: Mapping[str, Any], limit: int) -> Iterator[dict[str, Any]]:
        """Yield at most `limit` items of a list.

        Of the address of the next page only the cursor is used, so that no response can send the token elsewhere.
        """
        cursor, seen = None, set[str]()
        while limit > 0:
            page = self.get(target, **query, pageSize=min(limit, PAGE), cursor=cursor)
            items = items_of(page)[:limit]
            yield from items
            limit -= len(items)
            cursor = cursor_of(page)
            if cursor is None or not items or cursor in seen:
                return
            seen.add(cursor)

    @contextmanager
    def opened(
        self, request: Request, headers: Mapping[str, str], body: bytes | Body = b"", **limits: Any
    ) -> Iterator[Response]:
        """Send a request with the token, and yield the response, with any status.

        `headers` are added to those of `Connection.headers`. `limits` are those of `http.opened`.
        """
        try:
            with opened(
                request.method,
                self.connection.address(request),
                headers=self.connection.headers(headers),
                body=body,
                ca_file=self.connection.ca_file,
                **limits,
            ) as response:
                yield response
        except Unreachable as error:
            raise explained(error, request, self.connection.url) from None


def explained(error: Unreachable, request: Request, url: str) -> Unreachable:
    """Return the error with what it means for the request to the coordinator at `url`."""
    if isinstance(error, NotConnected):
        return NotConnected(f"the coordinator at {url} cannot be reached: {error}; start it, or correct the URL")
    return error if request.method == "GET" else type(error)(f"{error}; the request may have been carried out")


def items_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the items of a page. Raises `Unreachable` if it has none."""
    items = page.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Unreachable("the response is no list; is this a coordinator?")
    return items


def cursor_of(page: Mapping[str, Any]) -> str | None:
    following = page.get("next")
    try:
        cursors = parse_qs(urlsplit(following).query).get("cursor") if isinstance(following, str) else None
    except ValueError:
        return None
    return cursors[0] if cursors else None


def refused(response: Response) -> Refused:
    return Refused(response.status, response.headers, _object(response.body(MOST_BYTES)) or {})


def document_of(status: int, headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
    """Return the JSON object of a response. Raises `Refused`, and `Unreachable` if it is none."""
    document = _object(content)
    if status not in _EXPECTED:
        raise Refused(status, headers, document or {})
    if document is None:
        raise Unreachable("the response is no JSON object; is this a coordinator?")
    return document


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


_FILE: Final = Path(__file__).with_name("operations.json")


@dataclass(frozen=True, slots=True)
class Member:
    """A parameter of a query, or a member of a body.

    `kind` is text, integer, number, boolean, moment, texts (a list of them), object (also a list of objects), or json,
    which is any value. `help` is what the document says. `choices` are the values of an enumeration.
    """

    name: str
    kind: str = "text"
    required: bool = False
    nullable: bool = False
    help: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """A method and a path below the tenant's address, such as `campaigns/{campaign_id}`."""

    method: str
    path: str
    members: Mapping[str, Member]


def operation(name: str) -> Operation:
    """Return the operation with a method and a path such as `GET campaigns/{campaign_id}`. Raises `KeyError`."""
    method, _, path = name.partition(" ")
    members: dict[str, Any] = _operations()[name]
    return Operation(method, path, {member: Member(member, **described) for member, described in members.items()})


@cache
def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = json.loads(_FILE.read_bytes())
    return operations
