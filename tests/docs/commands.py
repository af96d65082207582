"""The documents of the repository, each read once, and the commands that they and the Makefile contain."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "distributions/*/*.md")
    for path in ROOT.glob(pattern)
)
SHELLS = {"sh", "console"}
HISTORY = ("CHANGELOG.md", "docs/adr/")
"""Documents whose sentences name commands of former versions."""
OPERATORS = {"&&", "||", "|", ";", "&", "(", ")"}
PROGRAMS = {"coordinator", "pipelines"}
"""The programs of the product."""
FENCE = re.compile(r"^ *```(\S*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`((?:[A-Z_]+=\S+ )?(?:coordinator|pipelines|make|python3? -m) [^`\n]+)`(?!`)")
ASSIGNMENT = re.compile(r"[A-Za-z_]+=")


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


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
        names = {word.partition("=")[0] for word in self.words[1:] if re.match(r"--?[a-zA-Z]", word)}
        return names if "--" not in self.words else names - set(self.words[self.words.index("--") :])


@cache
def fenced() -> list[Command]:
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
    return [
        command
        for document in DOCUMENTS
        if not document.startswith(HISTORY)
        for span in SPAN.findall(FENCE.sub("", text_of(document)))
        for command in [next(simple_commands(document, span))]
    ]


def targets() -> dict[str, str]:
    """The targets of the Makefile that `make help` lists, each with its recipe."""
    rules = re.findall(r"^([a-z-]+):.*## .*\n((?:(?:\t.*|ifn?eq.*|else|endif|)\n)*)", text_of("Makefile"), re.MULTILINE)
    return dict(rules)


def simple_commands(where: str, line: str) -> Iterator[Command]:
    """Yield the commands of a line of shell, and those that `kubectl exec` and `docker compose run` start."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in OPERATORS:
            words.append(word)
            continue
        yield from _command(where, words)
        words = []


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
    if program == "kubectl" and "--" in words:
        yield Command(where, tuple(words[words.index("--") + 1 :]))
    if program == "docker" and "run" in words and "migrate" in words:
        arguments = words[words.index("migrate") + 1 :]
        yield Command(where, ("coordinator", *(arguments or ["migrate"])))
    if program == "docker" and "exec" in words:
        yield Command(where, tuple(words[words.index("web") + 1 :]))


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
