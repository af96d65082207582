"""What the steps of a pipeline need from the place where they run: config, and secrets, which nothing shows.

A pipeline declares names and types. The values come from the environment of the worker, and those of secrets also from
the files of a folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from pipelines.errors import DefinitionError
from wire.documents.step_settings import MOST_NAMES, NAME, SECRET
from wire.masks import SHORTEST_SECRET, hide

KINDS: Final[dict[type, str]] = {str: "text", int: "integer", float: "number", bool: "boolean"}
_FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_EXAMPLE: Final = 'such as config={"ERP_URL": str, "LIMIT": int}, secrets=["ERP_TOKEN"]'


class Declaring(Protocol):
    """A pipeline, with what it declares."""

    pipeline_id: str
    place: str
    config: dict[str, type]
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepSettings:
    """The values of what a pipeline declares, by name. Its text contains none of them."""

    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def declared(
    config: Mapping[str, type] | None, secrets: Sequence[str], place: str
) -> tuple[dict[str, type], tuple[str, ...]]:
    """Return copies of both. Raises ``DefinitionError`` INVALID_CONFIG."""
    problem = ""
    if not isinstance(config, Mapping | None) or isinstance(secrets, str) or not isinstance(secrets, Collection):
        problem = f"config is {config!r} and secrets are {secrets!r}"
    elif wrong := [
        name for name in (*(config or ()), *secrets) if not isinstance(name, str) or not NAME.fullmatch(name)
    ]:
        problem = f"{wrong[0]!r} is not the name of an environment variable"
    elif wrong := [name for name, kind in (config or {}).items() if kind not in KINDS]:
        problem = f"{wrong[0]!r} is of none of the types str, int, float and bool"
    elif len({*(config or ()), *secrets}) < len(config or ()) + len(secrets):
        problem = "config and secrets have a name twice"
    elif len(config or ()) + len(secrets) > MOST_NAMES:
        problem = f"config and secrets have more than {MOST_NAMES} names"
    if problem:
        raise DefinitionError("INVALID_CONFIG", f"{problem}; declare names and types, {_EXAMPLE}", place)
    return dict(config or {}), tuple(secrets)


def declared_types(config: Mapping[str, type], secrets: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the members `config` and `secrets` of a declaration: the name of each type, by the name of the value."""
    return {"config": {name: KINDS[kind] for name, kind in config.items()}, "secrets": dict.fromkeys(secrets, SECRET)}


def settings_of(
    pipeline: Declaring, *, folder: Path | None = None, values: Mapping[str, Any] | None = None
) -> StepSettings | None:
    """Return the values of what a pipeline declares, and hide those of its secrets in all texts of this process.

    None if it declares nothing.

    A secret is the text of the file of its name in ``folder``, without a new line at its end, or else the environment
    variable. ``values`` has values that replace those.

    Raises ``DefinitionError`` CONFIG_MISSING, which names everything that is missing or wrong, and no value.
    """
    if not pipeline.config and not pipeline.secrets:
        return None
    replaced = values or {}
    config: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    problems = []
    for name, kind in pipeline.config.items():
        try:
            config[name] = _parsed(kind, replaced[name] if name in replaced else os.environ.get(name))
        except ValueError as error:
            problems.append(f"{name} {error}")
    for name in pipeline.secrets:
        try:
            secrets[name] = _secret(replaced[name] if name in replaced else _found(name, folder))
        except ValueError as error:
            problems.append(f"the secret {name} {error}")
    if problems:
        where = f"the environment, and those of secrets also in files of {folder}" if folder else "the environment"
        text = f"{pipeline.pipeline_id} cannot start: {'; '.join(problems)}. Values come from {where}"
        raise DefinitionError("CONFIG_MISSING", text, pipeline.place)
    hide(secrets.values())
    return StepSettings(config, secrets)


def _found(name: str, folder: Path | None) -> str | None:
    if folder is not None:
        try:
            return (folder / name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"cannot be read from {folder}") from None
    return os.environ.get(name)


def _secret(value: object) -> str:
    if value is None or value == "":
        raise ValueError("is missing")
    if not isinstance(value, str):
        raise ValueError("is not a text")
    if len(value) < SHORTEST_SECRET:
        raise ValueError(f"has fewer than {SHORTEST_SECRET} characters, so it cannot be hidden in log lines")
    return value


def _parsed(kind: type, value: object) -> Any:
    if value is None or (value == "" and kind is not str):
        raise ValueError(f"is missing ({KINDS[kind]})")
    if type(value) is kind:
        return value
    try:
        if isinstance(value, str) and kind is bool:
            return _FLAGS[value.strip().lower()]
        if isinstance(value, str) or (kind is float and type(value) is int):
            return kind(value)
    except (ValueError, KeyError):
        pass
    raise ValueError(f"is not of its type ({KINDS[kind]})")
