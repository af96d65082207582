"""The commands of authors and worker hosts: ``pipelines build | key | release | publish | env | worker``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from pipelines.environment.lock import lock_from
from pipelines.errors import DefinitionError
from pipelines.release.descriptor import release
from pipelines.release.packaging import build

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def main(argv: Sequence[str] | None = None, program: str = "pipelines") -> int:
    """Run one command and return its exit status.

    A mistake of the author is printed to stderr as ``error: CODE: message``, one line each, and gives status 2.
    ``program`` is the name that the usage line shows.
    """
    arguments = _parser(program).parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except DefinitionError as error:
        for each in error.errors:
            print(f"error: {each}", file=sys.stderr)
        return 2


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="Build, release and run pipelines.")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="build | key | release | publish | env | worker"
    )
    _add_build(commands.add_parser("build", help="compile a pipeline and pack its artifact"))
    _add_key(commands.add_parser("key", help="create a key that signs releases"))
    _add_release(commands.add_parser("release", help="write pipeline-release.json for built artifacts"))
    _add_publish(commands.add_parser("publish", help="upload a release, wait for its verification, activate it"))
    _add_env(commands.add_parser("env", help="make the environment that a release requires"))
    _add_worker(commands.add_parser("worker", help="run a transition worker for one release"))
    return parser


def _add_build(parser: argparse.ArgumentParser) -> None:
    _add_reference(parser)
    _add_out(parser)
    _add_lock(parser, "the distributions that are installed here")
    _add_json(parser)
    parser.set_defaults(run=_build)


def _add_env(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="sync")
    sync = commands.add_parser("sync", help="make a virtual environment that matches a release, with uv")
    sync.add_argument("target", type=Path, metavar="DIR", help="the virtual environment; it is changed if it exists")
    _add_release_file(sync)
    sync.add_argument("--artifact", type=Path, metavar="FILE", help="default: the one next to --release")
    _add_json(sync)
    sync.set_defaults(run=_env_sync)


def _add_release_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", required=True, type=Path, metavar="FILE", help="the pipeline-release.json")


def _add_lock(parser: argparse.ArgumentParser, default: str) -> None:
    text = f"uv.lock, pylock.toml or a requirements file with exact versions; default: {default}"
    parser.add_argument("--lock", type=Path, metavar="FILE", help=text)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="for the private key; the public key is written next to it"
    )
    _add_json(parser)
    parser.set_defaults(run=_key)


def _add_release(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", nargs="*", type=Path, metavar="ARTIFACT", help="default: those in --out")
    _add_out(parser)
    parser.add_argument("--release-version", metavar="V", help="default: the digest of the artifact")
    parser.add_argument(
        "--sign", action="append", default=[], type=Path, metavar="KEY", help="sign with this key; may be repeated"
    )
    _add_json(parser)
    parser.set_defaults(run=_release)


def _add_publish(parser: argparse.ArgumentParser) -> None:
    env = os.environ
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"), metavar="DIR", help="default: dist")
    parser.add_argument("--url", default=env.get("PIPELINES_URL"), help="the coordinator; default: $PIPELINES_URL")
    parser.add_argument(
        "--tenant", default=env.get("PIPELINES_TENANT"), help="the tenant's slug; default: $PIPELINES_TENANT"
    )
    parser.add_argument("--token", metavar="TOKEN", help="prefer --token-file or $PIPELINES_TOKEN")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="contains an API token")
    parser.add_argument(
        "--attach", action="append", default=[], type=Path, metavar="FILE", help="a signature, provenance or SBOM"
    )
    parser.add_argument("--activate", action="store_true", help="activate the release after its registration")
    parser.add_argument("--reason", default="", help="why it is activated")
    _add_json(parser)
    parser.set_defaults(run=_publish)


def _add_worker(parser: argparse.ArgumentParser) -> None:
    env = os.environ
    _add_release_file(parser)
    code = parser.add_mutually_exclusive_group()
    code.add_argument(
        "--artifact", type=Path, metavar="FILE", help="the artifact to host; default: the one next to --release"
    )
    code.add_argument(
        "--from-source",
        metavar="MODULE:NAME",
        help="for development: host this pipeline from the working folder; the worker reports its code as unverified",
    )
    _add_lock(parser, "as installed here; with --from-source, the one with which the artifact was built")
    parser.add_argument(
        "--allow-environment-drift",
        action="store_true",
        help="start although this environment differs from the one that the artifact requires",
    )
    parser.add_argument(
        "--tenant", default=env.get("PIPELINES_TENANT"), help="the tenant's slug; default: $PIPELINES_TENANT"
    )
    parser.add_argument(
        "--broker-url", default=env.get("PIPELINES_BROKER_URL"), metavar="URL", help="default: $PIPELINES_BROKER_URL"
    )
    parser.add_argument(
        "--broker-ca-file",
        default=env.get("PIPELINES_BROKER_CA_FILE", ""),
        metavar="FILE",
        help="certificates of authorities for a rediss:// broker, in addition to those of the system; "
        "default: $PIPELINES_BROKER_CA_FILE",
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="contains the tenant's worker key; default: $PIPELINES_WORKER_KEY"
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
        "--payload-prefix",
        action="append",
        metavar="PREFIX",
        help="rest: types to accept in addition to the pipeline's own",
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
    _import_from_here()
    lock = lock_from(arguments.lock) if arguments.lock else None
    built = build(arguments.pipeline, arguments.out, lock=lock)
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


def _key(arguments: argparse.Namespace) -> int:
    """Create a key. Imports cryptography here only, because the other commands do not need it."""
    from pipelines.release import signing_key

    made = signing_key.make(arguments.file)
    facts = {"keyId": made.key_id, "private": str(made.private), "public": str(made.public)}
    _show({**facts, "encrypted": made.encrypted}, arguments)
    return 0


def _release(arguments: argparse.Namespace) -> int:
    written = release(
        arguments.out, arguments.artifacts, release_version=arguments.release_version, sign_with=arguments.sign
    )
    _show(
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


def _publish(arguments: argparse.Namespace) -> int:
    """Publish a release. The exit status is 1 if the release was not registered, and 2 after a mistake."""
    from pipelines.release import publish

    target = publish.Target(_required(arguments, "url"), _required(arguments, "tenant"), _token(arguments))
    bar = _Bar(sys.stderr)
    release = publish.publish(arguments.folder, target, progress=bar.progress, attach=arguments.attach)
    activation = None
    if release["status"] == "REGISTERED" and arguments.activate:
        activation = publish.activate(release, target, reason=arguments.reason)
    if arguments.json:
        print(json.dumps({"release": release, "activation": activation}))
    else:
        for finding in release["findings"]:
            print(
                f"{finding['severity']}: {finding['code']}: {finding['field']}: {finding['message']}", file=sys.stderr
            )
        trust = release["trust"]
        if trust["policy"] != "off" and trust["standing"] != "SIGNED":
            text = f"no trusted key signed the release, and the pipeline's policy is {trust['policy']}"
            print(f"warning: {trust['standing']}: {text}", file=sys.stderr)
        facts = {name: release[name] for name in ("pipelineId", "contractVersion", "releaseVersion", "status")}
        _show({**facts, **({"activation": f"#{activation['sequence']}"} if activation else {})}, arguments)
    return 0 if release["status"] == "REGISTERED" else 1


def _required(arguments: argparse.Namespace, name: str) -> str:
    value: str | None = getattr(arguments, name)
    if not value:
        raise DefinitionError("MISSING_OPTION", f"set --{name} or PIPELINES_{name.upper()}")
    return value


def _token(arguments: argparse.Namespace) -> str:
    try:
        file = arguments.token_file.read_text(encoding="utf-8").strip() if arguments.token_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError("MISSING_OPTION", f"--token-file cannot be read: {type(error).__name__}") from error
    token: str = file or arguments.token or os.environ.get("PIPELINES_TOKEN", "")
    if not token or not token.isascii() or not token.isprintable():
        raise DefinitionError("MISSING_OPTION", "set --token-file FILE or PIPELINES_TOKEN")
    return token


class _Bar:
    """A progress bar on a terminal. Prints nothing elsewhere."""

    WIDTH = 40

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown = -1

    def progress(self, sent: int, total: int) -> None:
        percent = sent * 100 // total
        if not self._out.isatty() or percent == self._shown:
            return
        self._shown = percent
        full = self.WIDTH * sent // total
        end = "\n" if sent == total else ""
        self._out.write(f"\r[{'#' * full}{'.' * (self.WIDTH - full)}] {percent:3d} % of {total / 2**20:.1f} MiB{end}")
        self._out.flush()


def _env_sync(arguments: argparse.Namespace) -> int:
    from pipelines.environment.sync import sync
    from pipelines.worker.artifact import unpack_release

    unpacked = unpack_release(arguments.release, arguments.artifact)
    sync(unpacked.required, arguments.target)
    python = unpacked.required.interpreter
    facts = {"python": f"{python.implementation} {python.version}", "artifact": unpacked.pinned.digest}
    _show({**facts, "path": str(arguments.target)}, arguments)
    return 0


def _worker(arguments: argparse.Namespace) -> int:
    """Run a worker. Imports Celery here only, because the other commands need no broker."""
    if arguments.from_source:
        _import_from_here()
    if arguments.protocol == "rest":
        from pipelines.worker import rest_worker

        return rest_worker.main(arguments)
    from pipelines.worker import celery_worker

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
