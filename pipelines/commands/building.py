"""``pipelines build``, ``key``, ``release`` and ``env``: makes artifacts, releases and environments.

Each command imports what it needs when it runs, because workers that start do not need all of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.commands.options import (
    add_json,
    add_lock,
    add_out,
    add_release_file,
    add_repeated,
    import_from_here,
    show,
    warn,
)


def add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="MODULE:NAME", help="such as acme.payments:pipeline")
    add_out(parser)
    add_lock(parser, "the distributions that are installed here")
    add_json(parser)
    parser.set_defaults(run=_build)


def _build(arguments: argparse.Namespace) -> int:
    """Build an artifact. Imports the compiler here only, because workers that start do not need all of it."""
    from pipelines.lock_files import lock_from, missing_in
    from pipelines.release.packaging import build

    import_from_here()
    lock = lock_from(arguments.lock) if arguments.lock else None
    if lock is not None:
        warn(missing_in(lock))
    built = build(arguments.pipeline, arguments.out, lock=lock)
    show(
        {
            "pipelineId": built.contract["pipelineId"],
            "contractVersion": built.contract["contractVersion"],
            "steps": len(built.contract["steps"]),
            "digest": built.digest,
            "size": built.size,
            "path": str(built.path),
        },
        arguments,
    )
    return 0


def add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="for the private key; the public key is written next to it"
    )
    add_json(parser)
    parser.set_defaults(run=_key)


def _key(arguments: argparse.Namespace) -> int:
    """Create a key. Imports cryptography here only, because the other commands do not need it."""
    from pipelines.release import signing_key

    key = signing_key.make(arguments.file)
    facts = {"keyId": key.key_id, "private": str(key.private), "public": str(key.public)}
    show({**facts, "encrypted": key.encrypted}, arguments)
    return 0


PROFILES = ("tpf-2026-08", "tpf-2026-10")


def add_release(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", nargs="*", type=Path, metavar="ARTIFACT", help="default: those in --out")
    add_out(parser)
    parser.add_argument("--release-version", metavar="V", help="default: the digest of the artifact")
    parser.add_argument("--profile", choices=PROFILES, default=PROFILES[0], help=f"default: {PROFILES[0]}")
    parser.add_argument(
        "--carrier",
        metavar="ARTIFACT_ID",
        help="tpf-2026-10: which of several artifacts has the contract and its steps",
    )
    text = (
        "tpf-2026-10: where the artifact will be in Maven repositories, instead of a file of this machine; "
        "once for each artifact"
    )
    add_repeated(parser, "--maven", "GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION", text, kind=str)
    text = "tpf-2026-10: oci://registry/repository@sha256:..., an image in which the artifact runs; may be repeated"
    add_repeated(parser, "--image", "OCI_URI", text, kind=str)
    add_repeated(parser, "--sign", "KEY", "sign with this key; may be repeated")
    add_json(parser)
    parser.set_defaults(run=_release)


def _release(arguments: argparse.Namespace) -> int:
    from pipelines.release.descriptor import Locations, release
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


def add_env(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="sync")
    sync = commands.add_parser("sync", help="make a virtual environment that matches a release, with uv")
    sync.add_argument("target", type=Path, metavar="DIR", help="the virtual environment; it is changed if it exists")
    add_release_file(sync)
    sync.add_argument("--artifact", type=Path, metavar="FILE", help="default: the one next to --release")
    add_json(sync)
    sync.set_defaults(run=_sync)


def _sync(arguments: argparse.Namespace) -> int:
    from pipelines.lock_files import missing_in, sync
    from pipelines.worker.artifact import unpack_release

    unpacked = unpack_release(arguments.release, arguments.artifact)
    warn(missing_in(unpacked.required.lock))
    sync(unpacked.required, arguments.target)
    python = unpacked.required.interpreter
    facts = {"python": f"{python.implementation} {python.version}", "artifact": unpacked.pinned.digest}
    show({**facts, "path": str(arguments.target)}, arguments)
    return 0
