"""Requests to the REST API of a coordinator: bounded in size and time, without redirects, proxies and retries."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from coordinator.command_line.errors import CommandError, Exit, Refused
from foundation.http.address_guard import Target, TargetRefused, Unreachable, vet
from foundation.http.exchange import Broken, NotConnected, Response, TimedOut, exchange

EVERYWHERE: Final = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""The person at the command line chooses the coordinator, so it may be at any address."""
CONNECT_SECONDS: Final = 10.0
SECONDS: Final = 120.0
"""How long one request may take, unless the person says otherwise."""
DOWNLOAD_FACTOR: Final = 30
"""How much longer a download may take."""
MOST_BYTES: Final = 64 * 2**20
"""The largest response."""
LARGEST_FILE: Final = 8 * 2**30
"""The largest download."""
PAGE: Final = 500
_EXPECTED = (200, 201, 202)
_LONGEST_DETAIL: Final = 4000


@dataclass(frozen=True, slots=True)
class Connection:
    """A tenant of a coordinator, and a token of it. `repr` omits the token."""

    url: str
    tenant: str
    token: str = field(repr=False)
    ca_file: str = ""
    seconds: float = SECONDS


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` is below the tenant's address, or, with a slash in front, below that of the coordinator."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    @property
    def target(self) -> str:
        """The path with the query. Members of the query that are None are omitted."""
        pairs = {name: _query_text(value) for name, value in self.query.items() if value is not None}
        return self.path + (f"?{urlencode(pairs)}" if pairs else "")


def _query_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def path(*parts: str) -> str:
    """Return a path of these segments, quoted. Raises `CommandError` for a segment that a server would resolve."""
    for part in parts:
        if part in {"", ".", ".."}:
            raise CommandError("a name or id may not be empty, '.' or '..'")
    return "/".join(quote(part, safe=":") for part in parts)


class Client:
    """Calls the API. Every method raises `CommandError`; a response with another status than 2xx is `Refused`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def address(self, request: Request) -> str:
        """Return the whole URL of a request."""
        if request.path.startswith("/"):
            return f"{self.connection.url}{request.target}"
        return f"{self.connection.url}/api/v1/tenants/{path(self.connection.tenant)}/{request.target}"

    def get(self, target: str, **query: Any) -> dict[str, Any]:
        return self.call(Request("GET", target, query))

    def call(self, request: Request) -> dict[str, Any]:
        """Return the JSON object of the response."""
        response = self._exchange(request, limit=MOST_BYTES)
        if response.status not in _EXPECTED:
            raise _refused(response)
        if not response.complete:
            raise CommandError(f"the response has more than {MOST_BYTES:,} bytes", Exit.UNREACHABLE)
        document = _json_object(response.body)
        if document is None:
            raise CommandError("the response is no JSON object; is this a coordinator?", Exit.UNREACHABLE)
        return document

    def ready(self) -> dict[str, Any]:
        """Return the health of the web process, also if it is not ready. Sends no token."""
        response = self._exchange(Request("GET", "/health/ready"), limit=MOST_BYTES, token=False)
        document = _json_object(response.body)
        if document is None or response.status not in {200, 503}:
            raise _refused(response)
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

    def download(self, target: str, receive: Callable[[bytes], object], **query: Any) -> None:
        """Pass the body of the response to `receive` in pieces."""
        response = self._exchange(Request("GET", target, query), limit=LARGEST_FILE, receive=receive)
        if response.status != 200:
            raise Refused(f"the coordinator responded with status {response.status}", response.status)
        if not response.complete:
            raise CommandError("the download is too large", Exit.UNREACHABLE)

    @cached_property
    def _target(self) -> Target:
        try:
            return vet(self.connection.url, allowed=EVERYWHERE)
        except TargetRefused as error:
            raise CommandError(f"--url: {error}") from None
        except Unreachable as error:
            raise CommandError(str(error), Exit.UNREACHABLE) from None

    def _exchange(
        self,
        request: Request,
        *,
        limit: int,
        token: bool = True,
        receive: Callable[[bytes], object] | None = None,
    ) -> Response:
        headers = {"Accept": "application/json" if receive is None else "*/*", "User-Agent": "coordinator-command-line"}
        if token:
            headers["Authorization"] = f"Bearer {self.connection.token}"
        body, seconds = b"", self.connection.seconds
        if request.method != "GET":
            body = b"" if request.body is None else json.dumps(request.body).encode()
            headers["Content-Length"] = str(len(body))
            if body:
                headers["Content-Type"] = "application/json"
        try:
            return exchange(
                replace(self._target, url=self.address(request)),
                request.method,
                body,
                headers=headers,
                connect_seconds=CONNECT_SECONDS,
                seconds=seconds if receive is None else DOWNLOAD_FACTOR * seconds,
                limit=limit,
                ca_file=self.connection.ca_file,
                receive=receive,
                silent_seconds=None if receive is None else seconds,
            )
        except NotConnected as error:
            raise CommandError(f"the coordinator cannot be reached: {error}", Exit.UNREACHABLE) from None
        except (TimedOut, Broken) as error:
            done = "" if request.method == "GET" else "; the request may have been carried out"
            raise CommandError(f"{error}{done}", Exit.UNREACHABLE) from None


def items_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the items of a page. Raises `CommandError` if it has none."""
    items = page.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise CommandError("the response is no list; is this a coordinator?", Exit.UNREACHABLE)
    return items


def cursor_of(page: Mapping[str, Any]) -> str | None:
    """Return the cursor of the next page."""
    following = page.get("next")
    try:
        found = parse_qs(urlsplit(following).query).get("cursor") if isinstance(following, str) else None
    except ValueError:
        return None
    return found[0] if found else None


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _refused(response: Response) -> Refused:
    status = response.status
    if 300 <= status < 400:
        where = response.headers.get("location", "another address")[:200]
        return Refused(f"the server redirects to {where}; give its final address as --url", status)
    problem = _json_object(response.body) or {}
    code = str(problem.get("code", ""))[:100]
    lines = [f"{status} {code}: {problem.get('detail') or problem.get('title') or 'no detail'}"[:_LONGEST_DETAIL]]
    errors = problem.get("errors")
    for error in errors[:50] if isinstance(errors, list) else ():
        if isinstance(error, dict):
            lines.append(f"  {error.get('field', '')}: {error.get('message', '')}"[:_LONGEST_DETAIL])
    return Refused("\n".join(lines), status, code, _seconds(response.headers.get("retry-after", "")))


def _seconds(text: str) -> float | None:
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 10 else None
