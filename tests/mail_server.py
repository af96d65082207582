"""A mail server (SMTP) that keeps what it gets, for tests of e-mail."""

import email
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message


@dataclass(frozen=True)
class Mail:
    sender: str
    recipients: list[str]
    message: Message


@dataclass
class MailServer:
    port: int
    mails: list[Mail] = field(default_factory=list)


class _Session(socketserver.StreamRequestHandler):
    """One session: HELO, MAIL, RCPT, DATA and QUIT (RFC 5321)."""

    def handle(self) -> None:
        self.reply("220 test")
        sender, recipients = "", list[str]()
        while line := self.rfile.readline().decode().strip():
            command = line.upper()
            if command.startswith("MAIL FROM:"):
                sender = line[10:].split()[0].strip("<>")
                self.reply("250 ok")
            elif command.startswith("RCPT TO:"):
                recipients.append(line[8:].split()[0].strip("<>"))
                self.reply("250 ok")
            elif command == "DATA":
                self.take(sender, recipients)
            elif command == "QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("250 ok")

    def take(self, sender: str, recipients: list[str]) -> None:
        self.reply("354 start mail input")
        lines = []
        while (line := self.rfile.readline()).rstrip() != b".":
            lines.append(line)
        if self.server.refuses:  # type: ignore[attr-defined]
            self.reply("451 later")
            return
        self.server.mails.append(Mail(sender, list(recipients), email.message_from_bytes(b"".join(lines))))  # type: ignore[attr-defined]
        self.reply("250 ok")

    def reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def mail_server(*, refuses: bool = False) -> Iterator[MailServer]:
    """Run a server on a free port of 127.0.0.1. If `refuses` is true, it responds to each message with 451."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Session) as server:
        made = MailServer(server.server_address[1])
        server.mails, server.refuses = made.mails, refuses  # type: ignore[attr-defined]
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(10)
