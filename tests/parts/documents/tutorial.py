"""The pages of the tutorial, read as a person follows them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from embedded.product import PROJECT

FOLDER: Final = PROJECT / "docs" / "tutorial"
_PARTS: Final = re.compile(
    r"^```(?P<language>\w+)\n(?P<block>.*?)^```$|^(?P<steps>(?:\d\. [^\n]*\n(?:   ?\S[^\n]*\n)*)+)"
    r"|^ *!\[[^\n]*\]\(\.\./(?P<picture>[^\n]*)\)$",
    re.MULTILINE | re.DOTALL,
)
_WORDS: Final = re.compile(
    r"\b(?P<verb>choose|open the row of|open|press|tick|the page shows|enter|log in as)\b"
    r"|`(?P<typed>[^`]+)`|\*\*(?P<named>.+?)\*\*",
    re.IGNORECASE,
)
_COMMAND: Final = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    text: str
    shown: str
    """What the page shows as its output."""


@dataclass(frozen=True)
class Terminal:
    """Commands that are typed one after the other."""

    commands: list[Command]


@dataclass(frozen=True)
class File:
    name: str
    text: str


@dataclass(frozen=True)
class Change:
    """A change of the last file. `old` is there once."""

    old: str
    new: str


@dataclass(frozen=True)
class Act:
    """What to do in the browser: `verb` is that of the page, in lower case. `typed` is what to enter."""

    verb: str
    named: str
    typed: str = ""


@dataclass(frozen=True)
class Picture:
    path: str
    """Below `docs`."""


Part = Terminal | File | Change | Act | Picture


def pages() -> list[str]:
    """Return the texts of the index and of the pages, in the order in which the index lists them."""
    index = (FOLDER / "index.md").read_text()
    return [
        index,
        *((FOLDER / name).read_text() for name in re.findall(r"^\d\. \[.*?\]\((.+?)\)", index, re.MULTILINE)),
    ]


def parts(page: str) -> Iterator[Part]:
    for found in _PARTS.finditer(page):
        if found["picture"]:
            yield Picture(found["picture"])
        elif found["language"] == "console":
            yield Terminal([Command(*each) for each in _COMMAND.findall(found["block"])])
        elif found["language"] == "diff":
            lines = found["block"].splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
            yield Change(old, new)
        elif found["block"]:
            named = re.match(r"# (.+)\n", found["block"])
            assert named is not None, f"this block has no name of a file:\n{found['block']}"
            yield File(named[1], found["block"])
        elif not found["steps"].startswith("1. ["):
            yield from _acts(" ".join(found["steps"].split()))


def _acts(steps: str) -> Iterator[Act]:
    """Yield what a numbered list says: each name in bold and each typed text belongs to the verb before it."""
    verb = typed = ""
    for found in _WORDS.finditer(steps):
        if found["verb"]:
            verb = found["verb"].lower()
        elif found["typed"] and verb == "log in as":
            yield Act(verb, found["typed"])
        elif found["typed"]:
            assert verb == "enter", f"{found['typed']} is typed after {verb}:\n{steps}"
            typed = found["typed"]
        else:
            assert verb, f"nothing is done with {found['named']}:\n{steps}"
            yield Act(verb, found["named"], typed)
            typed = ""


def matches(shown: str, output: str) -> bool:
    """Whether output is what a page shows. `…` is any text of a line, or any lines. Spaces count as one."""
    lines = (re.escape(_even(line)).replace("…", ".*") for line in shown.splitlines())
    pattern = "".join(r"(?:.*\n)*" if line == ".*" else f"{line}\n" for line in lines)
    return re.fullmatch(pattern, "".join(f"{_even(line)}\n" for line in output.splitlines())) is not None


def _even(line: str) -> str:
    return re.sub(" +", " ", line).strip()
