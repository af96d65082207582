"""Arguments and options that several commands have, and values from files."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.errors import CommandError

Pipeline = Annotated[str, typer.Argument(help="The pipeline's id.", show_default=False)]
Release = Annotated[str, typer.Argument(help="The release's version.", show_default=False)]
Execution = Annotated[str, typer.Argument(help="The execution's id.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why. It is recorded.", show_default=False)]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0.1, help="How many seconds to wait at most.", show_default=False)
]

LARGEST_INPUT: Final = 64 * 2**20
LARGEST_KEY: Final = 10_000


def json_value(text: str, name: str) -> Any:
    """Return the JSON value of an option: a text, `@FILE` or `-`. Raises `CommandError`."""
    try:
        if text == "-":
            text = sys.stdin.read(LARGEST_INPUT)
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_no_constant)
    except OSError as error:
        raise CommandError(f"{name}: {text[1:]} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{name} is not valid JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def moment(value: datetime | None) -> str | None:
    """Return a moment as the API expects it. A moment without an offset is local time."""
    return value.astimezone().isoformat() if value else None


def public_key(file: Path) -> str:
    """Return the PEM text in a file. Raises `CommandError`; also for a private key, which must not be sent."""
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(LARGEST_KEY)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read ({type(error).__name__})") from None
    if "PRIVATE" in text:
        raise CommandError(f"{file} contains a private key; give the public one")
    return text


def without_none(**members: Any) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}
