"""``pipelines env``: make the environment that a release requires."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.commands.options import add_json, add_release_file, show, warn


def add(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="sync")
    sync = commands.add_parser("sync", help="make a virtual environment that matches a release, with uv")
    sync.add_argument("target", type=Path, metavar="DIR", help="the virtual environment; it is changed if it exists")
    add_release_file(sync)
    sync.add_argument("--artifact", type=Path, metavar="FILE", help="default: the one next to --release")
    add_json(sync)
    sync.set_defaults(run=_sync)


def _sync(arguments: argparse.Namespace) -> int:
    from pipelines.environment.lock_files import missing_in
    from pipelines.environment.sync import sync
    from pipelines.worker.artifact import unpack_release

    unpacked = unpack_release(arguments.release, arguments.artifact)
    warn(missing_in(unpacked.required.lock))
    sync(unpacked.required, arguments.target)
    python = unpacked.required.interpreter
    facts = {"python": f"{python.implementation} {python.version}", "artifact": unpacked.pinned.digest}
    show({**facts, "path": str(arguments.target)}, arguments)
    return 0
