"""A real HTTP proxy in front of an S3 server, which spoils reads of blobs or falls silent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from threading import Event
from urllib.parse import urlsplit

from tests.http_server import HttpServer, Request, body_of, head
from tests.s3 import S3Place

Fault = Callable[[bytes], bytes]


def short(body: bytes) -> bytes:
    return body[:-1]


def wrong(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


class FaultyProxy(HttpServer):
    """Spoils the next reads of `folder` by `faults`, one each. While `silent` is True, it never answers."""

    protocol = "HTTP/1.1"

    def __init__(self, place: S3Place) -> None:
        super().__init__()
        self.place = replace(place, endpoint_url=self.origin)
        self.faults: list[Fault] = []
        self.folder = "sha256"
        self.silent = False
        self._over = Event()
        self._server = urlsplit(place.endpoint_url).netloc

    def respond(self, request: Request) -> None:
        if self.silent:
            self._over.wait()
            return
        connection = HTTPConnection(self._server)
        connection.request(request.command, request.path, body_of(request), dict(request.headers))
        response = connection.getresponse()
        body, headers = response.read(), dict(response.headers)
        connection.close()
        if request.command != "HEAD":
            if self.faults and request.command == "GET" and self._is_blob(request.path):
                body = self.faults.pop(0)(body)
            headers["Content-Length"] = str(len(body))
        headers.pop("Transfer-Encoding", None)
        head(request, response.status, headers)
        request.wfile.write(body)

    def _is_blob(self, path: str) -> bool:
        """Return False for a list of objects or parts."""
        return f"/{self.folder}/" in path and "uploadId=" not in path

    def release(self) -> None:
        self._over.set()


@contextmanager
def faulty_proxy(place: S3Place) -> Iterator[FaultyProxy]:
    with FaultyProxy(place).running() as proxy:
        yield proxy
