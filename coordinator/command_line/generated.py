"""Arguments and options of a command, generated from an operation of the API."""

import inspect
import json
import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coordinator.command_line.session import CommandError
from coordinator_client.api import Member, Request, operation, operation_key, path

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


SHORT: Final = {
    "pipelineId": "pipeline",
    "releaseVersion": "release",
    "executionId": "execution",
    "interactionId": "question",
    "campaignId": "campaign",
    "workerId": "worker",
    "alertId": "alert",
    "channelId": "channel",
    "keyId": "key",
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
    "user": "The name with which the person logs in.",
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
        required = [*(Member(each, required=True) for each in in_path), *(members[each] for each in arguments)]
        optional = [members[each] for each in optional_arguments]
        others = {*arguments, *optional_arguments, *omitted, "operationKey"}
        options = [each for each in members.values() if each.kind != "object" and each.name not in others]
        self._members = {_keyword(each): each for each in [*required, *optional, *options]}
        self.parameters = [
            *(_parameter(each, ..., _argument(each)) for each in required),
            *(_parameter(each, None, _argument(each)) for each in optional),
            *(_parameter(each, self._default(each), self._option(each)) for each in options),
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
        """Return the default of an option; Ellipsis if there is none."""
        if member.name in self._defaults or not member.required or member.nullable:
            return self._defaults.get(member.name)
        return {"idempotencyKey": None, "reason": ""}.get(member.name, ...)


def _name(member: Member) -> str:
    """Return the name for people, such as `error_code` for `errorCode`."""
    camel = re.sub(r"_(\w)", lambda found: found[1].upper(), member.name)
    return SHORT.get(camel) or re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", camel)


def _flag(member: Member) -> str:
    return f"--{_name(member).replace('_', '-')}"


def _keyword(member: Member) -> str:
    name = _name(member)
    return f"{name}_" if keyword.iskeyword(name) else name


def _argument(member: Member) -> Any:
    name = _name(member)
    help_text = HELP.get(name) or member.help or f"The {name}'s id."
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
