"""``pipelines build``: compile a pipeline and pack its artifact."""

from __future__ import annotations

import argparse

from pipelines.commands.options import add_json, add_lock, add_out, add_reference, import_from_here, show, warn


def add(parser: argparse.ArgumentParser) -> None:
    add_reference(parser)
    add_out(parser)
    add_lock(parser, "the distributions that are installed here")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Build an artifact. Imports the compiler here only, because workers that start do not need all of it."""
    from pipelines.environment.lock_files import lock_from, missing_in
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
