"""Sends bytes over a socket, for requests that no HTTP library would send."""

import socket


def opened(port: int, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """Return a connection from the address `source` on which `sent` has been sent."""
    made = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    made.sendall(sent)
    return made


def everything(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received
