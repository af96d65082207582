import email
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message

from tests.http_server import in_a_thread


@dataclass(frozen=True)
class Mail:
    recipients: list[str]
    message: Message


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.port: int = self.server_address[1]
        self.mails: list[Mail] = []
        self.refuses = refuses


class _Session(socketserver.StreamRequestHandler):
    """One session: HELO, MAIL, RCPT, DATA and QUIT (RFC 5321)."""

    server: MailServer

    def handle(self) -> None:
        self.reply("220 test")
        recipients = list[str]()
        while line := self.rfile.readline().decode().strip():
            command = line.upper()
            if command.startswith("RCPT TO:"):
                recipients.append(line[8:].split()[0].strip("<>"))
            elif command == "QUIT":
                self.reply("221 bye")
                return
            elif command == "DATA":
                self.reply("354 start mail input")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                if self.server.refuses:
                    self.reply("451 later")
                    continue
                self.server.mails.append(Mail(recipients, email.message_from_bytes(text)))
            self.reply("250 ok")

    def reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def mail_server(*, refuses: bool = False) -> Iterator[MailServer]:
    """Run a server on a free port of 127.0.0.1. If `refuses` is true, it responds to each message with 451."""
    server = MailServer(refuses)
    with in_a_thread(server):
        yield server
