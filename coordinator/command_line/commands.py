"""Declares commands. Each gets the options that all share, and ends with the exit status of its error."""

import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.generated import Call, Generated
from coordinator.command_line.output import Form
from coordinator.command_line.session import Exit, Session, exit_of
from coordinator_client.api import SECONDS
from coordinator_client.errors import ClientError

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
"""Takes the session, then the call if it is generated, then its own arguments.

Returns an exit status other than 0 for a negative answer.
"""


class Noun:
    """A group of commands.

    If a command names an `operation` of the API, its arguments and options are generated from that, as `Generated`
    says. Other keywords than those that are described are of `Generated`.
    """

    def __init__(self, name: str, help_text: str) -> None:
        self.app = typer.Typer(name=name, help=help_text, no_args_is_help=True, pretty_exceptions_enable=False)

    def local(self, name: str) -> Callable[[Command], Command]:
        """Register a command that calls no API."""
        return self._registering(name, [], "")

    def reading(
        self, name: str, operation: str = "", *, watch: bool = True, **more: Any
    ) -> Callable[[Command], Command]:
        """Register a command that changes nothing. Unless `watch` is false, it can be repeated."""
        return self._registering(name, [*_CONNECTION, _WATCH] if watch else _CONNECTION, operation, **more)

    def changing(self, name: str, operation: str = "", **more: Any) -> Callable[[Command], Command]:
        """Register a command that changes something: with --dry-run and --yes."""
        return self._registering(name, [*_CONNECTION, _DRY_RUN, _YES], operation, **more)

    def listing(self, name: str, operation: str, columns: str, help_text: str, *, limit: int = 50, **more: Any) -> None:
        """Register a command that prints at most `limit` items of a list, with these columns."""
        most = typer.Option("--limit", min=1, max=1_000_000, help="The largest number of items.")

        @self.reading(name, operation, help_text=help_text, **more)
        def print_list(session: Session, call: Call, limit: Annotated[int, most] = limit) -> None:
            session.list(columns, call.request, limit)

    def showing(self, name: str, operation: str, help_text: str) -> None:
        """Register a command that prints one object."""

        @self.reading(name, operation, help_text=help_text)
        def print_object(session: Session, call: Call) -> None:
            session.show(call.request)

    def acting(self, name: str, operation: str, help_text: str, question: str = "", **more: Any) -> None:
        """Register a command that sends one request, after the `question`, in which {names} are those of arguments."""

        @self.changing(name, operation, help_text=help_text, **more)
        def send(session: Session, call: Call) -> None:
            session.act(call.request, question.format_map(call.arguments))

    def _registering(
        self, name: str, shared: list[inspect.Parameter], operation: str, help_text: str = "", **generation: Any
    ) -> Callable[[Command], Command]:
        generated = Generated(operation, **generation) if operation else None

        def register(command: Command) -> Command:
            made = generated.parameters if generated else []
            own = list(inspect.signature(command, eval_str=True).parameters.values())[2 if generated else 1 :]
            parameters = [*made, *(each.replace(kind=_KIND) for each in own), *shared]

            def run(**arguments: Any) -> None:
                options = {each.name: arguments.pop(each.name) for each in shared}
                values = {each.name: arguments.pop(each.name) for each in made}

                def call(session: Session) -> int | None:
                    if generated is None:
                        return command(session, **arguments)
                    return command(session, generated.call(values), **arguments)

                if status := _run(Session(options), call):
                    raise typer.Exit(status)

            run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
            run.__annotations__ = {each.name: each.annotation for each in parameters}
            self.app.command(name, help=inspect.cleandoc(help_text or command.__doc__ or ""))(run)
            return command

        return register


root: Final = Noun(
    "coordinator",
    """Operate the releases and executions of a coordinator over its REST API.

`coordinator help` lists the commands that run on a host of the coordinator, such as `migrate`.
""",
)
"""The program itself, for commands without a noun."""


def _run(session: Session, command: Command) -> int:
    """Run a command and return its exit status. Errors go to stderr."""
    try:
        if not session.watch:
            return command(session) or Exit.OK
        while True:
            session.output.clear()
            _once_of_many(session, command)
            time.sleep(session.watch)
    except ClientError as error:
        session.output.note(f"error: {error}")
        return exit_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _once_of_many(session: Session, command: Command) -> None:
    """Run a command that is repeated. A coordinator that cannot be reached for a while does not end it."""
    try:
        command(session)
    except ClientError as error:
        if exit_of(error) not in {Exit.UNREACHABLE, Exit.LIMITED}:
            raise
        session.output.note(f"error: {error}")
    sys.stdout.flush()
