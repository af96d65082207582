"""docs/command-line.md describes the commands that there are."""

import re
from collections.abc import Iterator
from typing import Any

import typer.main
from django.core.management import get_commands

from coordinator.command_line.app import tree
from coordinator.command_line.words import WORDS
from tests.docs.pages import text_of

PAGE = text_of("docs/command-line.md")
ROW = re.compile(r"^\| `coordinator ([^`]+)` \| (.+) \|$", re.MULTILINE)


def described_commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield each command with its arguments, and its help."""
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from described_commands(each, (*words, name))
        return
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    shown = [(each.metavar or each.name.upper(), each.required) for each in arguments]
    yield (
        " ".join([*words, *(name if required else f"[{name}]" for name, required in shown)]),
        " ".join(command.help.split()),
    )


def test_every_command_is_described() -> None:
    assert dict(ROW.findall(PAGE)) == dict(described_commands(typer.main.get_command(tree())))


def test_the_words_are_those_of_the_tree_and_of_no_management_command() -> None:
    words = set(typer.main.get_command(tree()).commands)  # type: ignore[attr-defined]  # it is a group
    assert words == {word for word in WORDS if not word.startswith("-")}
    assert not words & set(get_commands())
