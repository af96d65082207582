"""Small HTTP servers, which replace coordinators, repositories and stores."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.http_server import HttpServer, Request, body_of, head
from tests.receiving import Received


@dataclass(frozen=True)
class Response:
    """`cut` is how many bytes of the body are sent, `pause` the seconds after each byte."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    pause: float = 0


class Recorder(HttpServer):
    """Keeps all requests. `response_to` says how to answer one."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Received] = []

    def response_to(self, request: Received) -> Response:
        raise NotImplementedError

    def respond(self, request: Request) -> None:
        received = Received(request.command, request.path, dict(request.headers), body_of(request))
        self.requests.append(received)
        response = self.response_to(received)
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        head(request, response.status, {name: value for name, value in headers.items() if value})
        for part in [response.body[: response.cut]] if not response.pause else map(bytes, zip(response.body)):
            request.wfile.write(part)
            time.sleep(response.pause)
