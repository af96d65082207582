"""``pipelines release``: write the descriptor of built artifacts."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.commands.options import add_json, add_out, show

PROFILES = ("tpf-2026-08", "tpf-2026-10")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", nargs="*", type=Path, metavar="ARTIFACT", help="default: those in --out")
    add_out(parser)
    parser.add_argument("--release-version", metavar="V", help="default: the digest of the artifact")
    parser.add_argument("--profile", choices=PROFILES, default=PROFILES[0], help=f"default: {PROFILES[0]}")
    parser.add_argument(
        "--carrier",
        metavar="ARTIFACT_ID",
        help="tpf-2026-10: which of several artifacts has the contract and its steps",
    )
    parser.add_argument(
        "--maven",
        action="append",
        default=[],
        metavar="GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION",
        help="tpf-2026-10: where the artifact will be in Maven repositories, instead of a file of this machine; "
        "once for each artifact",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="OCI_URI",
        help="tpf-2026-10: oci://registry/repository@sha256:..., an image in which the artifact runs; may be repeated",
    )
    parser.add_argument(
        "--sign", action="append", default=[], type=Path, metavar="KEY", help="sign with this key; may be repeated"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pipelines.release.descriptor import release
    from pipelines.release.located_artifacts import Locations
    from wire.documents.descriptor import Profile

    written = release(
        arguments.out,
        arguments.artifacts,
        release_version=arguments.release_version,
        sign_with=arguments.sign,
        profile=Profile(arguments.profile),
        locations=Locations(arguments.carrier, tuple(arguments.maven), tuple(arguments.image)),
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
