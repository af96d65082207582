"""The author's commands: ``python -m pipelines build | release | worker``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import DefinitionError
from pipelines.packaging import build
from pipelines.release import release

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Mistakes go to stderr as ``error: CODE: message`` with exit status 2."""
    arguments = _parser().parse_args(argv)
    _import_from_here()
    try:
        return int(arguments.run(arguments))
    except DefinitionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines", description="Build, release and run pipelines.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="build | release | worker")
    _add_build(commands.add_parser("build", help="compile a pipeline and pack its artifact"))
    _add_release(commands.add_parser("release", help="write pipeline-release.json for built artifacts"))
    _add_worker(commands.add_parser("worker", help="run a transition worker for one release"))
    return parser


def _add_build(parser: argparse.ArgumentParser) -> None:
    _add_reference(parser)
    _add_out(parser)
    _add_json(parser)
    parser.set_defaults(run=_build)


def _add_release(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", nargs="*", type=Path, metavar="ARTIFACT", help="default: those in --out")
    _add_out(parser)
    parser.add_argument("--release-version", metavar="V", help="default: the digest of the artifact")
    _add_json(parser)
    parser.set_defaults(run=_release)


def _add_worker(parser: argparse.ArgumentParser) -> None:
    env = os.environ
    _add_reference(parser)
    parser.add_argument("--release", required=True, type=Path, metavar="FILE", help="the pipeline-release.json")
    parser.add_argument(
        "--tenant", default=env.get("PIPELINES_TENANT"), help="the tenant's slug; default: $PIPELINES_TENANT"
    )
    parser.add_argument(
        "--broker-url", default=env.get("PIPELINES_BROKER_URL"), metavar="URL", help="default: $PIPELINES_BROKER_URL"
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="holds the tenant's worker key; default: $PIPELINES_WORKER_KEY"
    )
    parser.add_argument("--worker-id", metavar="ID", help="default: made from host and process")
    parser.add_argument(
        "--concurrency", type=_positive, default=1, metavar="N", help="transitions at a time; default: 1"
    )
    parser.add_argument(
        "--protocol", choices=("celery", "rest"), default="celery", help="how the coordinator calls it; default: celery"
    )
    parser.add_argument(
        "--bind", default="127.0.0.1:8090", metavar="HOST:PORT", help="rest: where to listen; default: 127.0.0.1:8090"
    )
    parser.add_argument(
        "--payload-prefix", action="append", metavar="PREFIX", help="rest: types to accept, beside the pipeline's own"
    )
    parser.add_argument("--log-level", type=str.upper, choices=LOG_LEVELS, default="INFO", metavar="LEVEL")
    parser.set_defaults(run=_worker)


def _add_reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="MODULE:NAME", help="such as acme.payments:pipeline")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("dist"), metavar="DIR", help="default: dist")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _build(arguments: argparse.Namespace) -> int:
    built = build(arguments.pipeline, arguments.out)
    _show(
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


def _release(arguments: argparse.Namespace) -> int:
    written = release(arguments.out, arguments.artifacts, release_version=arguments.release_version)
    _show(
        {
            "pipelineId": written.document["pipelineId"],
            "contractVersion": written.document["contractVersion"],
            "releaseVersion": written.document["releaseVersion"],
            "artifacts": [artifact["uri"] for artifact in written.document["artifacts"]],
            "path": str(written.path),
        },
        arguments,
    )
    return 0


def _worker(arguments: argparse.Namespace) -> int:
    """Celery is loaded here only: building needs no broker."""
    if arguments.protocol == "rest":
        from pipelines import rest_worker

        return rest_worker.main(arguments)
    from pipelines import celery_worker

    return celery_worker.main(arguments)


def _show(facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name:<16} {', '.join(value) if isinstance(value, list) else value}")


def _import_from_here() -> None:
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)


if __name__ == "__main__":
    sys.exit(main())
