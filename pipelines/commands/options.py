"""Options and output that several commands share."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from pipelines.errors import DefinitionError

RELEASE: Final = "the folder of a release, such as dist/1.0, or PIPELINE@VERSION, which is downloaded"


def add_release_name(parser: argparse.ArgumentParser) -> None:
    """Add the release, which may also be given as ``--release``. `release_of` returns it."""
    parser.add_argument("named", nargs="?", metavar="RELEASE", help=RELEASE)
    parser.add_argument("--release", metavar="RELEASE", help="the same as an option")


def release_of(arguments: argparse.Namespace) -> str:
    """Return the release of `add_release_name`. Raises ``DefinitionError`` MISSING_OPTION unless it is given once."""
    given = [name for name in (arguments.named, arguments.release) if name]
    if len(given) != 1:
        raise DefinitionError("MISSING_OPTION", f"name one release: {RELEASE}")
    return str(given[0])


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a pipeline. `pipelines.authoring.reference.find` reads it."""
    text = "a file such as orders.py, or a module such as acme.orders; :NAME if it defines several pipelines"
    parser.add_argument("pipeline", metavar="PIPELINE", help=text)


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("dist"), metavar="DIR", help="default: dist")


def add_lock(parser: argparse.ArgumentParser, default: str) -> None:
    text = f"uv.lock, pylock.toml or a requirements file with exact versions; default: {default}"
    parser.add_argument("--lock", type=Path, metavar="FILE", help=text)


def add_coordinator(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a coordinator, and a file with a token. `client_of` reads the variables."""
    parser.add_argument("--url", help="the coordinator; default: $COORDINATOR_URL")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="contains an API token; default: $COORDINATOR_TOKEN"
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    add_coordinator(parser)
    parser.add_argument("--tenant", help="the tenant's slug; default: $COORDINATOR_TENANT")
    parser.add_argument("--token", metavar="TOKEN", help="prefer --token-file or $COORDINATOR_TOKEN")


def add_repeated(
    parser: argparse.ArgumentParser, option: str, metavar: str, text: str, *, kind: type = Path, required: bool = False
) -> None:
    """Add an option that may be given several times, and by default never."""
    parser.add_argument(option, action="append", default=[], type=kind, metavar=metavar, help=text, required=required)


def add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def show(facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name:<16} {_shown(value)}")


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else value


def warn(text: str) -> None:
    if text:
        print(f"warning: {text}", file=sys.stderr)


def import_from_here() -> None:
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)


def _absolute_folder(path: str) -> Path | None:
    """Return the path independent of the working folder, which a worker changes."""
    return Path(path).absolute() if path else None


def add_secrets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secrets",
        type=_absolute_folder,
        default=os.environ.get("PIPELINES_SECRETS"),
        metavar="DIR",
        help="a folder with a file for each secret, named like it; secrets without a file come from the environment; "
        "default: $PIPELINES_SECRETS",
    )
