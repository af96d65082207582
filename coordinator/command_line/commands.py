"""Declares commands, most of them generated from operations of the API.

Each gets the options that all share, and ends with the exit status of its error.
"""

import inspect
import json
import keyword
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.help_texts import add_command, group
from coordinator.command_line.output import Form
from coordinator.command_line.session import CommandError, Exit, Session, exit_of
from coordinator_client.api import SECONDS, Member, Request, operation, operation_key, path
from coordinator_client.errors import ClientError, Refused
from coordinator_client.standard_output import READER_ENDED

Pipeline = Annotated[str, typer.Argument(help="The pipeline's id.", show_default=False)]
Release = Annotated[str, typer.Argument(help="The release's version.", show_default=False)]
Execution = Annotated[str, typer.Argument(help="The execution's id.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why. It is recorded.", show_default=False)]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0.1, help="How many seconds to wait at most.", show_default=False)
]
Most = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="The largest number of items.")]

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
        advice = f"; to read the file, write {name} @{text}" if os.path.isfile(text) else ""  # noqa: PTH113 - never raises
        raise CommandError(f"{name} is not valid JSON: {error}{advice}") from None


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


SHORT: Final = {
    "pipelineId": "pipeline",
    "releaseVersion": "release",
    "executionId": "execution",
    "questionId": "question",
    "campaignId": "campaign",
    "scheduleId": "schedule",
    "workerId": "worker",
    "alertId": "alert",
    "channelId": "channel",
    "keyId": "key",
    "invitationId": "invitation",
    "requestId": "request",
    "gradualId": "gradual",
    "failureGroupId": "group",
    "expectedReleaseVersion": "expected",
    "targetReleaseVersion": "target",
    "ratePerMinute": "rate",
    "stopAfterFailures": "stop_after",
    "activateAt": "at",
    "idempotencyKey": "key",
    "expectedResult": "expect",
    "tags": "tag",
    "exceptions": "exception",
    "username": "user",
}
"""Names of arguments and options that are shorter than those of the API."""
ALSO: Final = {"failureGroupId": ["--failure-group"]}
"""Further names of options."""
HELP: Final = {
    "pipeline": "The pipeline's id.",
    "release": "The release's version.",
    "execution": "The execution's id.",
    "reason": "Why. It is recorded.",
    "name": "The name, which is unique in the tenant.",
    "user": "The name with which the person logs in.",
    "gradual": "The id of the gradual activation.",
    "request": "The id of the activation request.",
}
_KINDS: Final[dict[str, Any]] = {
    "integer": int,
    "number": float,
    "boolean": bool,
    "moment": datetime,
    "texts": list[str],
}


@dataclass(frozen=True, slots=True)
class Call:
    """The request that a generated command makes, and its arguments and options by name."""

    request: Request
    arguments: Mapping[str, Any]


class Generated:
    """What a command takes for an operation such as `POST campaigns/{campaign_id}/cancel`, and the request it makes.

    The parameters of the path are arguments, then the members in `arguments`, which are required, and in
    `optional_arguments`. Other members are options, except those in `omitted`, objects, and the operation key, which is
    always new. `flags` and `defaults` are by member.
    """

    def __init__(
        self,
        name: str,
        *,
        arguments: Sequence[str] = (),
        optional_arguments: Sequence[str] = (),
        omitted: Sequence[str] = (),
        flags: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._operation = operation(name)
        self._flags, self._defaults = flags or {}, defaults or {}
        members = self._operation.members
        in_path = re.findall(r"{(\w+)}", self._operation.path)
        required = [*(Member(name, required=True) for name in in_path), *(members[name] for name in arguments)]
        optional = [members[name] for name in optional_arguments]
        others = {*arguments, *optional_arguments, *omitted, "operationKey"}
        options = [member for member in members.values() if member.kind != "object" and member.name not in others]
        self._members = {_keyword(member): member for member in [*required, *optional, *options]}
        self.parameters = [
            *(_parameter(member, ..., _argument(member)) for member in required),
            *(_parameter(member, None, _argument(member)) for member in optional),
            *(_parameter(member, self._default(member), self._option(member)) for member in options),
        ]

    def call(self, values: Mapping[str, Any]) -> Call:
        """Return the call with the values of the parameters. Raises `ClientError`."""
        sent = {member.name: _sent(member, values[name]) for name, member in self._members.items()}
        steps = self._operation.path.split("/")
        target = "/".join(path(sent.pop(step[1:-1])) if step.startswith("{") else step for step in steps)
        members = self._operation.members
        kept = {name: value for name, value in sent.items() if value is not None or members[name].required}
        arguments = {_name(member): values[name] for name, member in self._members.items()}
        if self._operation.method == "GET":
            query = {name: value for name, value in kept.items() if value != ""}
            return Call(Request("GET", target, query), arguments)
        if "operationKey" in members:
            kept["operationKey"] = operation_key()
        return Call(Request(self._operation.method, target, body=kept if members else None), arguments)

    def _option(self, member: Member) -> Any:
        flag = _flag(member)
        if member.kind == "boolean" and self._operation.method != "POST":
            flag = f"{flag}/--no-{flag[2:]}"
        texts = [member.help or HELP.get(_name(member), "")]
        if texts == [""] and self._operation.method == "GET" and member.kind == "text" and not member.choices:
            texts = [f"Only with this {_name(member).replace('_', ' ')}."]
        if member.kind == "json":
            texts.append("JSON, or @FILE, or - for stdin.")
        if member.choices:
            texts.append(f"One of {', '.join(member.choices)}.")
        flags = [self._flags.get(member.name, flag), *ALSO.get(member.name, ())]
        is_shown = self._default(member) not in (None, "", ...)
        return typer.Option(*flags, help=" ".join(texts).strip(), show_default=is_shown)

    def _default(self, member: Member) -> Any:
        """Return the default of an option, or Ellipsis if it has no default."""
        if member.name in self._defaults or not member.required or member.nullable:
            return self._defaults.get(member.name)
        return {"idempotencyKey": None, "reason": ""}.get(member.name, ...)


def _name(member: Member) -> str:
    """Return the name for people, such as `error_code` for `errorCode`."""
    camel = re.sub(r"_(\w)", lambda match: match[1].upper(), member.name)
    return SHORT.get(camel) or re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", camel)


def _flag(member: Member) -> str:
    return f"--{_name(member).replace('_', '-')}"


def _keyword(member: Member) -> str:
    name = _name(member)
    return f"{name}_" if keyword.iskeyword(name) else name


def _argument(member: Member) -> Any:
    name = _name(member)
    choices = f"One of {', '.join(member.choices)}." if member.choices else ""
    help_text = HELP.get(name) or member.help or choices or f"The {name}'s id."
    return typer.Argument(metavar=name.upper(), help=help_text, show_default=False)


def _parameter(member: Member, default: Any, info: Any) -> inspect.Parameter:
    kind = _KINDS.get(member.kind, str)
    return inspect.Parameter(
        _keyword(member),
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is ... else default,
        annotation=Annotated[kind | None if default is None else kind, info],
    )


def _sent(member: Member, value: Any) -> Any:
    """Return a value as the API expects it. None is not sent, unless the API requires the member."""
    if member.name == "idempotencyKey" and member.required:
        return value or operation_key()
    if value is None:
        return None
    if member.kind == "moment":
        return moment(value)
    return json_value(value, _flag(member)) if member.kind == "json" else value


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
        self.app = group(name, help_text)

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

    def listing(
        self,
        name: str,
        operation: str,
        columns: str,
        help_text: str,
        *,
        limit: int = 50,
        row: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        """Register a command that prints at most `limit` items of a list, with these columns.

        `row` returns what a table shows of an item.
        """

        @self.reading(name, operation, help_text=help_text, **more)
        def print_list(session: Session, call: Call, limit: Most = limit) -> None:
            items = session.client.pages(call.request.path, call.request.query, limit)
            is_table = session.output.form is Form.TABLE
            session.output.items(columns, map(row, items) if row and is_table else items)

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
        self,
        name: str,
        shared: list[inspect.Parameter],
        operation: str,
        help_text: str = "",
        *,
        hidden: bool = False,
        **generation: Any,
    ) -> Callable[[Command], Command]:
        generated = Generated(operation, **generation) if operation else None

        def register(command: Command) -> Command:
            made = generated.parameters if generated else []
            declared = list(inspect.signature(command, eval_str=True).parameters.values())[2 if generated else 1 :]
            parameters = [*made, *(parameter.replace(kind=_KIND) for parameter in declared), *shared]

            def run(**arguments: Any) -> None:
                options = {parameter.name: arguments.pop(parameter.name) for parameter in shared}
                values = {parameter.name: arguments.pop(parameter.name) for parameter in made}

                def call(session: Session) -> int | None:
                    if generated is None:
                        return command(session, **arguments)
                    return command(session, generated.call(values), **arguments)

                if status := _run(Session(options), call):
                    raise typer.Exit(status)

            run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
            run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
            add_command(self.app, name, help_text or command.__doc__ or "", run, hidden=hidden)
            return command

        return register


root: Final = Noun(
    "coordinator",
    """Operate the releases and executions of a coordinator over its REST API.

`coordinator dev` starts a coordinator on this machine.

`coordinator help` lists the commands that run on a host of the coordinator, such as `migrate`.
""",
)
"""The program itself."""


def _run(session: Session, command: Command) -> int:
    try:
        if not session.watch:
            return command(session) or Exit.OK
        while True:
            session.output.clear()
            _once_of_many(session, command)
            time.sleep(session.watch)
    except ClientError as error:
        advice = "\n  add --reason TEXT" if isinstance(error, Refused) and error.field == "reason" else ""
        session.output.note(f"error: {error}{advice}")
        return exit_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # typer would take it for a negative answer
        return READER_ENDED


def _once_of_many(session: Session, command: Command) -> None:
    """Run a command that is repeated. A coordinator that cannot be reached for a while does not end it."""
    try:
        command(session)
    except ClientError as error:
        if exit_of(error) not in {Exit.UNREACHABLE, Exit.LIMITED}:
            raise
        session.output.note(f"error: {error}")
    sys.stdout.flush()
