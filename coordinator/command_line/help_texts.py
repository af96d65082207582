"""Help texts that appear as they are written: rich would take `[x]` for markup, and `:100:` for an emoji."""

from collections.abc import Callable, Iterable
from inspect import cleandoc
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def group(name: str, help_text: str) -> typer.Typer:
    """Return a group of commands, which prints its help if no command is named."""
    return typer.Typer(
        name=name, cls=_AsWrittenGroup, help=help_text, no_args_is_help=True, pretty_exceptions_enable=False
    )


def add_command(app: typer.Typer, name: str, help_text: str, run: Callable[..., None], *, hidden: bool) -> None:
    """Add a command to a group."""
    app.command(name, cls=_AsWritten, help=cleandoc(help_text), hidden=hidden)(run)


def _escape(parts: Iterable[Any]) -> None:
    for part in parts:
        part.help = part.help and part.help.replace("[", r"\[").replace(":", ":[none][/none]")


class _AsWritten(TyperCommand):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        _escape([self, *self.params])
        super().format_help(ctx, formatter)


class _AsWrittenGroup(TyperGroup):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        _escape([self, *self.commands.values()])
        super().format_help(ctx, formatter)
