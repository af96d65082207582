"""The load client, a separate process that submits over keep-alive connections as fast as the server responds.

It shares the cores with the server, so it uses one thread with epoll, sends prepared bytes and hardly parses responses.
It reads its task as JSON from standard input and writes its account to standard output.
"""

import json
import select
import socket
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

LONGEST_READ = 262_144


@dataclass(frozen=True, slots=True)
class Task:
    """`count` items in requests of `batch` items each. With `batch` 0, each request is one item instead of a batch.

    `item` is the JSON text of an item, in which `{key}` is replaced by its number. `accepted` is a text that a batch
    response contains once for each accepted item, and any other response at least once if its item was accepted.
    With `seconds`, the client stops then, even if it has not sent `count` items.
    """

    port: int
    path: str
    headers: dict[str, str]
    item: str
    count: int
    connections: int
    batch: int = 0
    accepted: str = '"executionId"'
    seconds: float = float("inf")
    method: str = "POST"


@dataclass(slots=True)
class Account:
    """The results of the client. `started` and `ended` are wall-clock times; latencies of requests are in seconds."""

    started: float = 0.0
    ended: float = 0.0
    accepted: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    latency_p50: float = 0.0
    latency_p99: float = 0.0
    error: str = ""


class Connection:
    """One keep-alive connection with at most one pending request."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.sent_at = 0.0
        self._unsent = memoryview(b"")
        self._received = b""
        self._needed = 0
        self._chunked = False
        self._status = ""
        self._body_at = 0

    def send(self, request: bytes) -> bool:
        """Return True if all of it was sent. Otherwise call `send_rest` once the socket is writable."""
        self.sent_at = time.perf_counter()
        self._received, self._needed = b"", 0
        self._unsent = memoryview(request)
        return self.send_rest()

    def send_rest(self) -> bool:
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> tuple[str, bytes] | None:
        """Return status and body once the response is complete. Raises `ConnectionError` if the server disconnects."""
        part = self.socket.recv(LONGEST_READ)
        if not part:
            raise ConnectionResetError("the server closed a connection")
        self._received += part
        if not self._needed:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self._received[:end].lower()
            at = head.find(b"content-length:") + len(b"content-length:")
            self._body_at = end + 4
            # Without a length the body is chunked and ends with an empty chunk. The body itself is not needed.
            self._chunked = b"\r\ntransfer-encoding: chunked" in head
            self._needed = self._body_at + (5 if self._chunked else int(head[at:].split(b"\r\n", 1)[0]))
            self._status = head[9:12].decode()
        if len(self._received) < self._needed or (self._chunked and not self._received.endswith(b"0\r\n\r\n")):
            return None
        return self._status, self._received[self._body_at :]


class LoadClient:
    def __init__(self, task: Task) -> None:
        self._task = task
        lines = [
            f"{task.method} {task.path} HTTP/1.1",
            f"Host: 127.0.0.1:{task.port}",
            "Content-Type: application/json",
        ]
        lines += [f"{name}: {value}" for name, value in task.headers.items()]
        self._head = ("\r\n".join(lines) + "\r\nContent-Length: ").encode()
        before, key, after = task.item.partition("{key}")
        self._keyed = bool(key)
        self._before, self._after = before.encode(), after.encode()
        self._marker = task.accepted.encode()
        self._next = 0
        self._latencies: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._account = Account()

    def run(self) -> Account:
        """Submit everything. Responses other than 2xx are counted, and their items are not repeated."""
        connections = {made.socket.fileno(): made for made in self._connect()}
        poll = select.epoll()
        account, began = self._account, time.process_time()
        account.started = time.time()
        busy = 0
        for number, connection in connections.items():
            poll.register(number, 0)
            busy += self._submit(poll, number, connection)
        while busy:
            for number, events in poll.poll():
                connection = connections[number]
                if events & select.EPOLLOUT:
                    if connection.send_rest():
                        poll.modify(number, select.EPOLLIN)
                    continue
                response = connection.receive()
                if response is not None:
                    self._count(connection, *response)
                    busy -= 1
                    busy += self._submit(poll, number, connection)
        account.ended, account.cpu = time.time(), time.process_time() - began
        self._sum_up()
        return account

    def _connect(self) -> list[Connection]:
        return [Connection(self._task.port) for _ in range(self._task.connections)]

    def _submit(self, poll: select.epoll, number: int, connection: Connection) -> bool:
        request = self._request()
        if request is None:
            poll.modify(number, 0)
            return False
        poll.modify(number, select.EPOLLIN if connection.send(request) else select.EPOLLOUT)
        return True

    def _request(self) -> bytes | None:
        first, remaining = self._next, self._task.count - self._next
        if remaining <= 0 or time.time() - self._account.started > self._task.seconds:
            return None
        if not self._task.batch:
            self._next += 1
            body = b"%b%09d%b" % (self._before, first, self._after) if self._keyed else self._before
        else:
            self._next += min(self._task.batch, remaining)
            between = b"%b,%b" % (self._after, self._before)
            body = b'{"items":[%b%b%b]}' % (
                self._before,
                between.join([b"%09d" % key for key in range(first, self._next)]),
                self._after,
            )
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    def _count(self, connection: Connection, status: str, body: bytes) -> None:
        self._latencies.append(time.perf_counter() - connection.sent_at)
        self._statuses[status] += 1
        if status[0] == "2":
            self._account.accepted += body.count(self._marker) if self._task.batch else self._marker in body
        if (status[0] != "2" or self._marker not in body) and not self._account.error:
            self._account.error = body[:500].decode(errors="replace")

    def _sum_up(self) -> None:
        ordered = sorted(self._latencies) or [0.0]
        self._account.statuses = dict(self._statuses)
        self._account.latency_p50 = ordered[len(ordered) // 2]
        self._account.latency_p99 = ordered[len(ordered) * 99 // 100]


def main() -> None:
    task: dict[str, Any] = json.load(sys.stdin)
    json.dump(asdict(LoadClient(Task(**task)).run()), sys.stdout)


if __name__ == "__main__":
    main()
