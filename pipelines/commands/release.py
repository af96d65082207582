"""``pipelines release``: write the descriptor of built artifacts."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.commands.options import add_json, add_out, show


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", nargs="*", type=Path, metavar="ARTIFACT", help="default: those in --out")
    add_out(parser)
    parser.add_argument("--release-version", metavar="V", help="default: the digest of the artifact")
    parser.add_argument(
        "--sign", action="append", default=[], type=Path, metavar="KEY", help="sign with this key; may be repeated"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pipelines.release.descriptor import release

    written = release(
        arguments.out, arguments.artifacts, release_version=arguments.release_version, sign_with=arguments.sign
    )
    show(
        {
            "pipelineId": written.document["pipelineId"],
            "contractVersion": written.document["contractVersion"],
            "releaseVersion": written.document["releaseVersion"],
            "artifacts": [artifact["uri"] for artifact in written.document["artifacts"]],
            "path": str(written.path),
            **({"signature": str(written.envelope)} if written.envelope else {}),
        },
        arguments,
    )
    return 0
