"""The page of all commands of `coordinator` and `pipelines`, from their parsers."""

import argparse
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import typer.main
from django.core.management.base import DjangoHelpFormatter

from coordinator import host_help, run
from coordinator.command_line.app import tree
from coordinator.command_line.session import MEANINGS
from docs.generators.markdown import code, codes, joined, table
from embedded import dev
from pipelines.cli import COMMANDS, parser_of

HEAD: Final = """\
# Command line

All commands of `coordinator` and `pipelines`, with their arguments and options. [Use the command
line](../how-to/use-the-command-line.md) shows how they connect and what they print.
"""
SHARED: Final = """\
All [commands of the API](#commands-of-the-api) take these options. Commands that only read also take `--watch`.
Commands that change something also take `--dry-run` and `--yes`.
"""
STATUSES: Final = """\
`coordinator` ends with one of these statuses. `pipelines` ends with 0, with 2 after an error of the author, and with
those that the description of a command names.
"""
OF_HOST: Final = """\
These commands run on a host of the coordinator, with its settings.
"""
OF_AUTHORS: Final = """\
These commands are those of authors and of worker hosts.
"""
METAVARS: Final[dict[str, str]] = {
    "int": "N",
    "int range": "N",
    "float": "SECONDS",
    "float range": "SECONDS",
    "path": "FILE",
    "datetime": "TIME",
}
"""What stands for the value of an option of each type."""
Rows = list[tuple[str, str]]


def page() -> str:
    return joined(
        HEAD,
        *("## Exit statuses", STATUSES),
        table(("status", "meaning"), ((str(int(status)), text) for status, text in MEANINGS.items())),
        *("## Options of all commands", SHARED, table(("option", "meaning"), _shared_options())),
        *("## Commands of the API", *_commands_of_api()),
        *("## Commands of a host", OF_HOST, *_commands_of_host()),
        *("## Commands of authors", OF_AUTHORS, *_commands_of_authors()),
    )


def _described(usage: str, text: str, rows: Rows) -> Iterator[str]:
    """Yield the parts about a command: its heading, what it does, how it is used, and its arguments and options."""
    name = " ".join(word for word in re.split(r" (?=[\[A-Z<{-])", usage)[0].split())
    yield f"### {name}"
    yield _marked(" ".join(text.split()))
    yield code(usage)
    if rows:
        yield table(("argument or option", "meaning"), rows)


# --- Commands of the API, which typer parses -------------------------------------------------------------------------


def _commands_of_api() -> Iterator[str]:
    for words, command in _leaves(typer.main.get_command(tree()), ("coordinator",)):
        parameters = [parameter for parameter in command.params if not _is_shared(parameter)]
        arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
        options = [parameter for parameter in parameters if parameter.param_type_name == "option"]
        usage = [*words, *(_argument(argument) for argument in arguments)]
        usage += [_option(option) for option in options if option.required]
        names = {parameter.name for parameter in command.params if _is_shared(parameter)}
        usage += [text for name, text in (("watch", "[--watch SECONDS]"), ("dry_run", "[--dry-run]")) if name in names]
        rows = [(code(_argument(argument).strip("[].")), argument.help or "") for argument in arguments]
        rows += [(code(_option(option)), _meaning(option)) for option in options]
        yield from _described(" ".join(usage), command.help, rows)


def _leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, subcommand in command.commands.items():
        if not subcommand.hidden:
            yield from _leaves(subcommand, (*words, name))


def _is_shared(parameter: Any) -> bool:
    return getattr(parameter, "rich_help_panel", None) is not None


def _shared_options() -> Iterator[tuple[str, str]]:
    shared: dict[str, Any] = {}
    for _, command in _leaves(typer.main.get_command(tree()), ()):
        shared |= {parameter.name: parameter for parameter in command.params if _is_shared(parameter)}
    yield from ((code(_option(parameter)), _meaning(parameter)) for parameter in shared.values())


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name += "..." if parameter.nargs == -1 and not name.endswith("...") else ""
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    names = ", ".join(parameter.opts)
    if parameter.secondary_opts:
        return f"{names}, {', '.join(parameter.secondary_opts)}"
    kind = parameter.type.name
    if kind == "boolean" or parameter.is_flag:
        return names
    return f"{names} {parameter.metavar or METAVARS.get(kind, 'TEXT')}"


def _meaning(parameter: Any) -> str:
    text = _marked(parameter.help or "")
    text += _one_of(parameter.type.choices) if parameter.type.name == "choice" else ""
    if parameter.show_default and parameter.default not in (None, "", False):
        value = parameter.default
        text += f" Default: `{getattr(value, 'value', value)}`."
    return text + (" It can be repeated." if parameter.multiple else "")


# --- Other commands, which argparse parses ---------------------------------------------------------------------------


def _commands_of_host() -> Iterator[str]:
    yield from _of_parser(dev.parser(), dev.ABOUT, ())
    yield from _of_parser(run.parser(), "", ())
    own = {name: command for commands in host_help.own_commands().values() for name, command in commands.items()}
    for name, command in sorted(own.items()):
        yield from _of_parser(command.create_parser("coordinator", name), command.help, DjangoHelpFormatter.show_last)


def _commands_of_authors() -> Iterator[str]:
    for name, (_, text) in COMMANDS.items():
        [subparsers] = [action for action in parser_of("pipelines", name)._actions if isinstance(action, _SUBPARSERS)]
        yield from _of_parser(subparsers.choices[name], sentences(text), ())


_SUBPARSERS: Final = argparse._SubParsersAction


def _of_parser(parser: argparse.ArgumentParser, text: str, omitted: Any) -> Iterator[str]:
    """Yield the parts about the command of a parser, or about each of its commands."""
    nested = [argument for argument in parser._actions if isinstance(argument, _SUBPARSERS)]
    if nested:
        for choice in nested[0]._choices_actions:
            yield from _of_parser(nested[0].choices[choice.dest], sentences(choice.help or ""), omitted)
        return
    arguments = [
        argument
        for argument in parser._actions
        if not isinstance(argument, argparse._HelpAction) and not set(argument.option_strings) & set(omitted)
    ]
    usage = [
        parser.prog,
        *(_written(argument) for argument in arguments if argument.required and argument.option_strings),
    ]
    usage += [_positional(argument) for argument in arguments if not argument.option_strings]
    formatter = parser._get_formatter()
    rows = [
        (code(_written(argument)), sentences(formatter._expand_help(argument)) + _one_of(argument.choices or ()))
        for argument in arguments
    ]
    yield from _described(" ".join(usage), text, rows)


def _written(action: argparse.Action) -> str:
    value = _value(action)
    return " ".join([", ".join(action.option_strings), *([value] if value else [])]).strip()


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        return re.sub(r" ?\| ?", " or ", action.metavar)
    return action.dest.upper()


def _positional(action: argparse.Action) -> str:
    value = _value(action)
    if action.nargs in ("*", "+"):
        value += "..."
    return f"[{value}]" if action.nargs in ("?", "*") else value


def sentences(text: str) -> str:
    """Return the fragments of a help text as sentences, with names of options and variables as code."""
    text = " ".join(text.split()).rstrip(".")
    fragments = [
        fragment if not fragment.split(" ")[0].isalpha() else fragment[0].upper() + fragment[1:]
        for fragment in text.split("; ")
    ]
    whole = ". ".join(fragment.replace("default: ", "Default: ") for fragment in fragments)
    return _marked(whole) + "." if whole else ""


def _one_of(choices: Iterable[object]) -> str:
    names = codes(map(str, choices))
    return f" One of {names}." if names else ""


def _marked(text: str) -> str:
    """Return a text with options and variables as code."""
    return re.sub(r"(?<![\w`-])(\$[A-Z_]+|--[a-z][a-z-]*)", r"`\1`", text)
