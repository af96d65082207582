"""``pipelines key``: create a key that signs releases."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.commands.options import add_json, show


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="for the private key; the public key is written next to it"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Create a key. Imports cryptography here only, because the other commands do not need it."""
    from pipelines.release import signing_key

    key = signing_key.make(arguments.file)
    facts = {"keyId": key.key_id, "private": str(key.private), "public": str(key.public)}
    show({**facts, "encrypted": key.encrypted}, arguments)
    return 0
