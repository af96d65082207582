"""Declares commands: each gets the options that all share, and ends with the exit status of its error."""

import functools
import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.client import SECONDS
from coordinator.command_line.errors import CommandError, Exit
from coordinator.command_line.output import Form
from coordinator.command_line.session import Options, Session

_PANEL: Final = "Options of all commands"
_KIND: Final = inspect.Parameter.KEYWORD_ONLY


def _shared(name: str, kind: Any, default: Any, help_text: str, **more: Any) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(flag, help=help_text, rich_help_panel=_PANEL, show_default=bool(default), **more)
    return inspect.Parameter(name, _KIND, default=default, annotation=Annotated[kind, option])


_CONNECTION: Final = [
    _shared("profile", str, "", "A profile of the configuration file. Default: $COORDINATOR_PROFILE."),
    _shared("url", str, "", "The address of the coordinator. Default: $COORDINATOR_URL."),
    _shared("tenant", str, "", "The tenant's slug. Default: $COORDINATOR_TENANT."),
    _shared("token", str, "", "An API token. Prefer $COORDINATOR_TOKEN or --token-file: other users see arguments."),
    _shared("token_file", Path | None, None, "A file with an API token, which only its owner may read."),
    _shared("ca_file", Path | None, None, "Certificates of the authorities to trust, in PEM form."),
    _shared("request_seconds", float, SECONDS, "How long one request may take.", min=0.1),
    _shared("output", Form, Form.TABLE, "How results are printed."),
]
_WATCH: Final = _shared("watch", float, 0.0, "Repeat at this interval, in seconds, until Ctrl-C.", min=0.0)
_DRY_RUN: Final = _shared("dry_run", bool, False, "Say what would be done, and do nothing.")
_YES: Final = _shared("yes", bool, False, "Do not ask for a confirmation.")

Command = Callable[..., int | None]
"""Takes the session, then its own arguments. Returns an exit status other than 0 for a negative answer."""


def noun(name: str, help_text: str) -> typer.Typer:
    """Return a group of commands."""
    return typer.Typer(name=name, help=help_text, no_args_is_help=True, pretty_exceptions_enable=False)


def reading(app: typer.Typer, name: str, *, watch: bool = True) -> Callable[[Command], Command]:
    """Register a command that changes nothing. Unless `watch` is false, it can be repeated."""
    return _registering(app, name, [*_CONNECTION, *([_WATCH] if watch else [])])


def changing(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Register a command that changes something: with --dry-run and --yes."""
    return _registering(app, name, [*_CONNECTION, _DRY_RUN, _YES])


def local(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Register a command that calls no API."""
    return _registering(app, name, [])


def _registering(app: typer.Typer, name: str, shared: list[inspect.Parameter]) -> Callable[[Command], Command]:
    def register(command: Command) -> Command:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        def run(**arguments: Any) -> None:
            options = Options(**{parameter.name: arguments.pop(parameter.name) for parameter in shared})
            status = _run(Session(options), functools.partial(command, **arguments))
            if status:
                raise typer.Exit(status)

        parameters = [*(each.replace(kind=_KIND) for each in own), *shared]
        run.__doc__ = command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name)(run)
        return command

    return register


def _run(session: Session, command: Command) -> int:
    """Run a command and return its exit status. Errors go to stderr."""
    try:
        if not session.options.watch:
            return command(session) or Exit.OK
        while True:
            session.output.clear()
            _once_of_many(session, command)
            time.sleep(session.options.watch)
    except CommandError as error:
        session.output.note(f"error: {error}")
        return error.status
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _once_of_many(session: Session, command: Command) -> None:
    """Run a command that is repeated. A coordinator that cannot be reached for a while does not end it."""
    try:
        command(session)
    except CommandError as error:
        if error.status not in {Exit.UNREACHABLE, Exit.LIMITED}:
            raise
        session.output.note(f"error: {error}")
    sys.stdout.flush()
