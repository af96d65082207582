"""The commands that the documents and the Makefile contain."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.docs.pages import DOCUMENTS, text_of

SHELLS = {"sh", "console"}
HISTORY = ("CHANGELOG.md", "docs/adr/")
"""Documents whose sentences name commands of former versions."""
OPERATORS = {"&&", "||", "|", ";", "&", "(", ")"}
PROGRAMS = {"coordinator", "pipelines"}
"""The programs of the product."""
FENCE = re.compile(r"^ *```(\S*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`((?:[A-Z_]+=\S+ )?(?:coordinator|pipelines|make|python3? -m) [^`\n]+)`(?!`)")
ASSIGNMENT = re.compile(r"[A-Za-z_]+=")


@dataclass(frozen=True)
class Command:
    """A simple command: `words` begin with the program. `variables` are set for it alone."""

    where: str
    words: tuple[str, ...]
    variables: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def options(self) -> set[str]:
        found = {word.partition("=")[0] for word in self.words[1:] if re.match(r"--?[a-zA-Z]", word)}
        return found if "--" not in self.words else found - set(self.words[self.words.index("--") :])


@cache
def fenced() -> list[Command]:
    """The commands of the blocks of all documents."""
    return [
        command
        for document in DOCUMENTS
        for language, block in FENCE.findall(text_of(document))
        if language in SHELLS
        for line in _lines(block, prompt=language == "console")
        for command in simple_commands(document, line)
    ]


@cache
def spans() -> list[Command]:
    """The commands in the sentences of all documents."""
    return [
        command
        for document in DOCUMENTS
        if not document.startswith(HISTORY)
        for span in SPAN.findall(FENCE.sub("", text_of(document)))
        for command in [next(simple_commands(document, span))]
    ]


def targets() -> dict[str, str]:
    """The targets of the Makefile that `make help` lists, each with its recipe."""
    found = re.findall(r"^([a-z-]+):.*## .*\n((?:(?:\t.*|ifn?eq.*|else|endif|)\n)*)", text_of("Makefile"), re.MULTILINE)
    return dict(found)


def simple_commands(where: str, line: str) -> Iterator[Command]:
    """Yield the commands of a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*_tokens(lexer), ";"]:
        if word not in OPERATORS:
            words.append(word)
            continue
        yield from _command(where, words)
        words = []


def _tokens(lexer: Any) -> list[str]:
    try:
        return list(lexer)
    except ValueError:  # a part of a script with an open quote
        return []


def _command(where: str, words: list[str]) -> Iterator[Command]:
    start = next((i for i, word in enumerate(words) if not ASSIGNMENT.match(word)), len(words))
    variables, words = words[:start], words[start:]
    if not words:
        if variables:
            yield Command(where, ("export", *variables))
        return
    if any(word in {">", "<", ">>"} for word in words):
        words = words[: next(i for i, word in enumerate(words) if word in {">", "<", ">>"})]
    program = words[0].rpartition("/")[2] if words[0].startswith(("/opt", ".venv")) else words[0]
    yield Command(where, (program, *words[1:]), tuple(variables))


def _lines(block: str, *, prompt: bool = False) -> Iterator[str]:
    """Yield the logical lines of a block: a backslash or an open quote continues a line."""
    whole = ""
    for line in block.splitlines():
        if prompt and not whole:
            if not line.strip().startswith("$ "):
                continue
            line = line.strip()[2:]
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        try:
            shlex.split(whole, comments=True)
        except ValueError:
            whole += "\n"
            continue
        yield whole
        whole = ""
