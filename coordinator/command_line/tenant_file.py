"""Reads the file that describes a tenant: YAML 1.2 without aliases, equal keys and tags. Strict about every name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from coordinator.command_line.session import CommandError

LARGEST: Final = 2**20
"""The largest file, in bytes."""
DEEPEST: Final = 32


class _Loader(yaml.SafeLoader):
    """Reads texts as YAML 1.2 does: `off` and `no` are texts, and so are dates."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", r"-?(?:0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass(frozen=True, slots=True)
class Place:
    """A value of the file, and its path, such as `pipelines.orders.policy`."""

    file: Path
    path: str
    value: Any

    def wrong(self, message: str) -> CommandError:
        return CommandError(f"{self.file}: {f'{self.path}: ' if self.path else ''}{message}")

    def members(self, known: Collection[str] | None = None, required: Collection[str] = ()) -> dict[str, Place]:
        """Return the members of a mapping. Raises `CommandError` for unknown and missing ones."""
        if not isinstance(self.value, dict):
            raise self.wrong("must be a mapping")
        for name in self.value:
            if not isinstance(name, str) or not name:
                raise self.wrong(f"the key {name!r} must be a text; write it in quotes")
            if known is not None and name not in known:
                raise self.wrong(f"unknown member {name!r}; known: {', '.join(known)}")
        if missing := [name for name in required if name not in self.value]:
            raise self.wrong(f"{missing[0]} is missing")
        return {name: self._below(f".{name}" if self.path else name, value) for name, value in self.value.items()}

    def items(self) -> list[Place]:
        if not isinstance(self.value, list):
            raise self.wrong("must be a list")
        return [self._below(f"[{index}]", value) for index, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("must be a text that is not empty; write numbers in quotes")
        return self.value

    def texts(self) -> list[str]:
        """Return a list of texts without repetitions."""
        texts = [item.text() for item in self.items()]
        if len(set(texts)) != len(texts):
            raise self.wrong("contains a text twice")
        return texts

    def _below(self, name: str, value: Any) -> Place:
        return Place(self.file, f"{self.path}{name}", value)


def read(file: Path) -> Place:
    """Return the content of the file. Raises `CommandError` if it is not valid."""
    document = Place(file, "", None)
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except OSError as error:
        raise document.wrong(f"cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise document.wrong(f"has more than {LARGEST:,} bytes")
    try:
        text = content.decode()
        _check(yaml.parse(text, Loader=_Loader), document)
        [node] = yaml.compose_all(text, Loader=_Loader)
        _check_keys(node, document)
        return Place(file, "", yaml.load(text, Loader=_Loader))  # noqa: S506 # nosec B506 - plain values only
    except UnicodeDecodeError:
        raise document.wrong("is not UTF-8") from None
    except yaml.YAMLError as error:
        raise document.wrong(f"is not valid YAML: {error}") from None
    except (ValueError, RecursionError):
        raise document.wrong("must contain one document with plain values") from None


def _check(events: Iterator[Any], document: Place) -> None:
    """Refuse aliases, which can make a small file huge, and deep nesting."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise document.wrong(f"aliases are not supported, such as *{event.anchor}")
        if depth > DEEPEST:
            raise document.wrong("is nested too deeply")


def _check_keys(node: Any, document: Place) -> None:
    """Refuse duplicate keys. YAML would keep the last one."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, document)
    elif isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, (key, value) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value in names[:index]:
                raise document.wrong(f"line {key.start_mark.line + 1}: the key {key.value!r} is there twice")
            _check_keys(value, document)
