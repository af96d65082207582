"""What a command works with: the options that all commands share, the client, and the output as tables or JSON.

Untrusted text is made safe for terminals.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from functools import cached_property
from shutil import get_terminal_size
from typing import Any, Final, TextIO

from coordinator_client import profiles
from coordinator_client.api import Client, Request
from coordinator_client.errors import ClientError, Refused, Unreachable
from coordinator_client.standard_output import READER_ENDED

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LEAST: Final = 8
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"


def columns_of(text: str) -> list[tuple[str, str]]:
    """Return the title and the path of each column of a text such as `RELEASE pin.releaseVersion, LAST SEEN at`."""
    return [(title, path) for title, _, path in (column.rpartition(" ") for column in text.split(", "))]


class Output:
    """Prints results to stdout, and everything else to stderr.

    JSON contains ASCII characters only. In tables, untrusted text is escaped. On a terminal, tables are as wide as it,
    long texts continue on the next line, and ids stay whole. Elsewhere, and on terminals that are too narrow, each row
    is one line.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.is_terminal = sys.stdout.isatty()

    def items(self, columns: str, items: Iterable[dict[str, Any]]) -> None:
        """Print a list: as a table, or as a JSON array."""
        if self.form is Form.JSON:
            self.value(list(items))
            return
        every = columns_of(columns)
        titles = [title for title, _ in every]
        rows = [[shown(member(item, path)) for _, path in every] for item in items]
        self._table(titles, rows) if rows else self.note("There are none.")

    def document(self, document: Any) -> None:
        """Print one object: a line for each member, or as JSON."""
        if self.form is Form.JSON:
            self.value(document)
        else:
            self._table([], [[clean(name), shown(value)] for name, value in flat(document)])

    def line(self, item: dict[str, Any], columns: str) -> None:
        """Print one item of an endless list: as a line, or as one line of JSON."""
        if self.form is Form.JSON:
            self._print(json.dumps(item))
        else:
            self._print("  ".join(shown(member(item, path)) for _, path in columns_of(columns)))

    def value(self, value: Any) -> None:
        self._print(json.dumps(value, indent=2))

    def text(self, text: str) -> None:
        """Print lines to stdout, unless the output is JSON."""
        if self.form is Form.TABLE:
            self._print(clean(text, lines=True))

    def note(self, text: str) -> None:
        self._print(clean(text, lines=True), sys.stderr)

    def clear(self) -> None:
        if self.is_terminal:
            sys.stdout.write("\x1b[2J\x1b[H")

    def _table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if self.is_terminal and _fits(rows):
            self._rich_table(titles, rows)
            return
        lines = [list(titles), *rows] if titles else list(rows)
        widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
        for line in lines:
            self._print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def _rich_table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=bool(titles), pad_edge=False)
        for title, column in zip(titles or ["", ""], zip(*rows, strict=True), strict=True):
            table.add_column(title, overflow="fold", no_wrap=_are_ids(column))
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(markup=False, highlight=False, emoji=False).print(table)

    def _print(self, text: str, file: TextIO | None = None) -> None:
        print(text, file=file or sys.stdout, flush=True)


def _are_ids(column: Sequence[str]) -> bool:
    return all(_ID.fullmatch(cell) for cell in column)


def _fits(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a terminal shows ids whole, and at least a few characters of each other cell."""
    widths = [
        max(map(len, column)) if _are_ids(column) else min(_LEAST, max(map(len, column)))
        for column in zip(*rows, strict=True)
    ]
    return sum(widths) + 2 * (len(widths) - 1) <= get_terminal_size().columns


def clean(text: object, *, lines: bool = False) -> str:
    r"""Return `text` with every character escaped that a terminal may interpret or hide, as in `\x1b`.

    These are control characters, marks that change the direction of text, and lone surrogates. With `lines`, line
    feeds and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else _escaped(character) for character in str(text)
    )


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(value: Any) -> str:
    """Return a value of a JSON document as one line of clean text. Moments lose their fractions."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value) or "-"
    if isinstance(value, dict):
        return clean(json.dumps(value, ensure_ascii=False))
    return clean(_MOMENT.sub(r"\1 \2Z", value) if isinstance(value, str) else value)


def member(document: Any, path: str) -> Any:
    """Return the member of nested objects at a path such as `pin.releaseVersion`; None if it is missing."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def flat(document: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the names and values of a document's members. Nested names are joined with dots."""
    if isinstance(document, dict) and document:
        return [
            pair for name, value in document.items() for pair in flat(value, f"{prefix}.{name}" if prefix else name)
        ]
    if isinstance(document, list) and any(isinstance(item, dict | list) for item in document):
        return [pair for number, item in enumerate(document) for pair in flat(item, f"{prefix}[{number}]")]
    return [(prefix, document)]


@contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Show a text with a spinner on stderr. Yields a function that replaces the text. Elsewhere, show nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, markup=False, highlight=False, emoji=False).status(Text(text)) as status:
        yield lambda said: status.update(Text(clean(said)))


class Exit(IntEnum):
    """The exit statuses of all commands. Scripts may depend on them."""

    OK = 0
    NEGATIVE = 1
    USAGE = 2
    REFUSED = 3
    DENIED = 4
    NOT_FOUND = 5
    UNREACHABLE = 6
    LIMITED = 7
    OVERDUE = 8
    INTERRUPTED = 130


MEANINGS: Final[Mapping[int, str]] = {
    Exit.OK: "The command did what it says.",
    Exit.NEGATIVE: "The answer is negative. An execution failed, a release was rejected, or a check found something.",
    Exit.USAGE: "An argument, the configuration or a file is not valid, or a confirmation is missing. Nothing changed.",
    Exit.REFUSED: "The coordinator refused the request because of the present state.",
    Exit.DENIED: "The token is not valid, or does not allow the request.",
    Exit.NOT_FOUND: "There is no such object in the tenant.",
    Exit.UNREACHABLE: "The coordinator cannot be reached, failed, or sent no valid response.",
    Exit.LIMITED: "There were too many requests. Try again later.",
    Exit.OVERDUE: "The time of `--timeout` is over. What the command waits for continues.",
    Exit.INTERRUPTED: "Ctrl-C ended the command.",
    READER_ENDED: "The reader of the output ended, such as `head -1`.",
}
"""What each exit status means."""

_BY_HTTP_STATUS = {
    400: Exit.USAGE,
    401: Exit.DENIED,
    403: Exit.DENIED,
    404: Exit.NOT_FOUND,
    410: Exit.NOT_FOUND,
    429: Exit.LIMITED,
}


class CommandError(ClientError):
    """Ends a command with the exit status `status`. The message may contain untrusted text."""

    def __init__(self, message: str, status: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.status = status


def exit_of(error: ClientError) -> Exit:
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, Refused):
        other = Exit.REFUSED if 400 <= error.status < 500 else Exit.UNREACHABLE
        return _BY_HTTP_STATUS.get(error.status, other)
    return Exit.UNREACHABLE if isinstance(error, Unreachable) else Exit.USAGE


TOLERATED_SECONDS: Final = 60.0
"""How long commands that wait tolerate a coordinator that cannot be reached."""
_POLL_SECONDS: Final = 1.0
OWN: Final = ("output", "watch", "dry_run", "yes")
"""Shared options that do not name the connection."""


class Session:
    """Calls the API for one command, and prints what it finds. `options` are those that commands share, if it has them.

    They are those of `profiles.connection`, and OWN.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._connection = {name: value for name, value in options.items() if name not in OWN}
        self.output = Output(options.get("output", Form.TABLE))
        self.watch: float = options.get("watch", 0.0)
        self.dry_run: bool = options.get("dry_run", False)
        self.is_confirmed: bool = options.get("yes", False)

    @cached_property
    def client(self) -> Client:
        return Client(profiles.connection(**self._connection))

    def show(self, request: Request) -> dict[str, Any]:
        """Print one object of the API, and return it."""
        document = self.client.call(request)
        self.output.document(document)
        return document

    def act(
        self, request: Request, question: str = "", *, show: bool = True, details: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Send a request that changes something, and return the response.

        With --dry-run, say which request would be sent, and return None. If there is a `question`, ask it first, with
        the `details`, unless --yes is given. Raises `CommandError` if the answer is no, or if there is no terminal.
        """
        if self.dry_run:
            self.announce(request)
            return None
        if question:
            self.confirm(question, details or {})
        document = self.client.call(request)
        if show:
            self.output.document(document)
        return document

    def announce(self, request: Request) -> None:
        sent = {"method": request.method, "url": self.client.connection.address(request), "body": request.body}
        if self.output.form is Form.JSON:
            self.output.value({"dryRun": sent})
        else:
            self.output.text(f"would send {sent['method']} {sent['url']}")
            for name, value in flat(request.body) if request.body else ():
                self.output.text(f"  {clean(name)}  {shown(value)}")

    def confirm(self, question: str, details: Mapping[str, Any]) -> None:
        """Ask for a confirmation. Raises `CommandError` without one."""
        if self.is_confirmed:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError("this needs a confirmation, and there is no terminal to ask on; add --yes or --dry-run")
        for name, value in details.items():
            self.output.note(f"  {name}: {shown(value)}")
        sys.stderr.write(f"{clean(question)} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CommandError("not confirmed; nothing was changed")

    def until(
        self, look: Callable[[], dict[str, Any] | None], timeout: float | None, pause: float = _POLL_SECONDS
    ) -> dict[str, Any]:
        """Call `look` until it returns something. Tolerate interruptions of TOLERATED_SECONDS, and limits of requests.

        Raises `CommandError` OVERDUE after `timeout` seconds.
        """
        start = reached = time.monotonic()
        while True:
            wait = pause
            try:
                if (seen := look()) is not None:
                    return seen
                reached = time.monotonic()
            except ClientError as error:
                is_passing = exit_of(error) in {Exit.UNREACHABLE, Exit.LIMITED}
                if not is_passing or time.monotonic() > reached + TOLERATED_SECONDS:
                    raise
                if isinstance(error, Refused) and error.retry_after:
                    wait = max(pause, min(error.retry_after, 30))
            if timeout is not None and time.monotonic() + wait > start + timeout:
                raise CommandError(f"it is not over after {timeout:g} seconds", Exit.OVERDUE)
            time.sleep(wait)
