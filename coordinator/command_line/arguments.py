"""Arguments and options that several commands have, and values from files."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.errors import CommandError

Pipeline = Annotated[str, typer.Argument(help="The pipeline's id.", show_default=False)]
Release = Annotated[str, typer.Argument(help="The release's version.", show_default=False)]
Execution = Annotated[str, typer.Argument(help="The execution's id.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="The largest number of items.")]
Reason = Annotated[str, typer.Option("--reason", help="Why. It is recorded.", show_default=False)]
OfPipeline = Annotated[str | None, typer.Option("--pipeline", help="Only of this pipeline.", show_default=False)]
OfRelease = Annotated[str | None, typer.Option("--release", help="Only of this release.", show_default=False)]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0.1, help="How many seconds to wait at most.", show_default=False)
]
Json = Annotated[str, typer.Option(help="JSON, or @FILE, or - for stdin.", show_default=False)]

LARGEST_INPUT: Final = 64 * 2**20


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


def without_none(**members: Any) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}
