"""HTTP to the letter, over a socket, as no client library would send it."""

import socket
import time


def opened(port: int, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """A connection from the address `source` on which so much has been sent, and nothing was read."""
    made = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    made.sendall(sent)
    return made


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def statuses(port: int, sent: bytes, *later: bytes) -> list[int]:
    """The status of each answer to what is sent, the last of which closes the connection."""
    with opened(port, sent) as connection:
        for part in later:
            time.sleep(0.1)
            connection.sendall(part)
        lines = everything(connection).replace(b"HTTP/1.", b"\nHTTP/1.").split(b"\n")
    return [int(line.split()[1]) for line in lines if line.startswith(b"HTTP/1.")]
