"""``pipelines build``, ``key``, ``release``, ``env``, ``publish`` and ``activate``: makes releases, and sends them.

Each command imports what it needs when it runs, because workers that start do not need all of it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from coordinator_client.errors import Refused
from pipelines.commands.options import (
    add_json,
    add_lock,
    add_out,
    add_pipeline,
    add_release_name,
    add_repeated,
    add_target,
    import_from_here,
    release_of,
    show,
    warn,
)
from pipelines.errors import DefinitionError

if TYPE_CHECKING:
    from pipelines.release.packaging import BuiltArtifact


def add_build(parser: argparse.ArgumentParser) -> None:
    add_pipeline(parser)
    add_out(parser)
    add_lock(parser, "the distributions that are installed here")
    add_json(parser)
    parser.set_defaults(run=_build)


def _build(arguments: argparse.Namespace) -> int:
    built = _built(arguments.pipeline, arguments.out, arguments.lock)
    facts = {
        "pipelineId": built.contract["pipelineId"],
        "contractVersion": built.contract["contractVersion"],
        "steps": len(built.contract["steps"]),
        "digest": built.digest,
        "size": built.size,
        "path": str(built.path),
    }
    sources = {"sources": [str(source) for source in built.sources]} if arguments.json else {}
    show(facts | sources, arguments)
    return 0


def _built(reference: str, out: Path, lock_file: Path | None) -> BuiltArtifact:
    """Build an artifact. Imports the compiler here only, because workers that start do not need all of it."""
    from pipelines.lock_files import lock_from
    from pipelines.release.packaging import build

    import_from_here()
    return build(reference, out, lock=lock_from(lock_file) if lock_file else None)


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
    text = "the pipeline to build, such as orders.py, or built artifacts; default: the artifacts in --out"
    parser.add_argument("sources", nargs="*", metavar="PIPELINE | ARTIFACT", help=text)
    add_out(parser)
    add_lock(parser, "the distributions that are installed here")
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
    from pipelines.release.descriptor import release
    from wire.documents.descriptor import Profile

    with _artifacts(arguments) as artifacts:
        written = release(
            arguments.out,
            artifacts,
            release_version=arguments.release_version,
            sign_with=arguments.sign,
            profile=Profile(arguments.profile),
            carrier=arguments.carrier,
            maven=arguments.maven,
            images=arguments.image,
        )
    facts = {name: written.document[name] for name in ("pipelineId", "contractVersion", "releaseVersion")}
    facts["artifacts"] = [artifact["uri"] for artifact in written.document["artifacts"]]
    facts["path"] = str(written.path)
    if written.envelope:
        facts["signature"] = str(written.envelope)
    show(facts, arguments)
    return 0


@contextmanager
def _artifacts(arguments: argparse.Namespace) -> Iterator[list[Path]]:
    """Yield the artifacts to release. A pipeline is built into a folder that is removed at the end of the block."""
    sources: list[str] = arguments.sources
    references = [source for source in sources if _is_reference(source)]
    if not references:
        if arguments.lock:
            raise DefinitionError("MISSING_OPTION", "--lock needs a pipeline to build, because an artifact has its own")
        yield [Path(source) for source in sources]
        return
    if len(sources) > 1:
        raise DefinitionError("MIXED_ARTIFACTS", f"a release has one pipeline; release {sources[0]} alone")
    from pipelines.release.folders import scratch

    with scratch(arguments.out / ".build") as folder:
        yield [_built(references[0], folder, arguments.lock).path]


def _is_reference(source: str) -> bool:
    path = Path(source)
    return path.suffix == ".py" or not (path.is_file() or path.suffix in {".zip", ".jar"})


def add_env(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="sync")
    sync = commands.add_parser("sync", help="make a virtual environment that matches a release, with uv")
    sync.add_argument("target", type=Path, metavar="DIR", help="the virtual environment; it is changed if it exists")
    add_release_name(sync)
    sync.add_argument("--artifact", type=Path, metavar="FILE", help="default: the release's own")
    add_target(sync)
    add_json(sync)
    sync.set_defaults(run=_sync)


def _sync(arguments: argparse.Namespace) -> int:
    from pipelines.lock_files import sync
    from pipelines.release.publish import client_of
    from pipelines.worker.artifact import located, unpack_release

    with located(release_of(arguments), lambda: client_of(arguments), arguments.artifact) as (descriptor, artifact):
        unpacked = unpack_release(descriptor, artifact)
    for difference in sync(unpacked.required, arguments.target):
        warn(f"{difference}; durable-pipelines needs it: release again, or start with --allow-environment-drift")
    python = unpacked.required.interpreter
    facts = {"python": f"{python.implementation} {python.version}", "artifact": unpacked.pinned.digest}
    show({**facts, "path": str(arguments.target)}, arguments)
    return 0


REFUSED = 3
"""The exit status if the activation is refused."""
REFUSING = frozenset({409, 422})
"""The statuses of responses by which the state of the pipeline or its policy refuses an activation."""


def add_publish(parser: argparse.ArgumentParser) -> None:
    text = "the folder of the release, such as dist/1.0; default: the only release in dist"
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"), metavar="DIR", help=text)
    add_target(parser)
    add_repeated(parser, "--attach", "FILE", "a signature, provenance or SBOM")
    parser.add_argument("--activate", action="store_true", help="activate the release after its registration")
    _add_activation(parser)
    add_json(parser)
    parser.set_defaults(run=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    """Publish a release. The exit status is 1 if the release was not registered, and 2 after a mistake."""
    from pipelines.release import publish
    from pipelines.release.folders import descriptor_in

    client = publish.client_of(arguments)
    folder = descriptor_in(arguments.folder).parent
    bar = _Bar(sys.stderr)
    release = publish.publish(folder, client, progress=bar.progress, attach=arguments.attach)
    activation = None
    if release["status"] == "REGISTERED" and arguments.activate:
        activation = publish.activate_published(release, client, reason=arguments.reason, wait_seconds=arguments.wait)
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
        if activation:
            facts["activation"] = f"#{activation['sequence']}"
        show(facts, arguments)
    return 0 if release["status"] == "REGISTERED" else 1


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


def _add_activation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="why it is activated")
    text = "how long to wait for a worker, if the pipeline's policy requires one; default: 0"
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help=text)


def add_activate(parser: argparse.ArgumentParser) -> None:
    text = "PIPELINE@VERSION, such as org.example.orders@1.0, or the folder of a release"
    parser.add_argument("name", metavar="RELEASE", help=text)
    parser.add_argument("version", nargs="?", metavar="VERSION", help="the version, if RELEASE is a pipeline's id only")
    add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would happen, and change nothing")
    _add_activation(parser)
    parser.add_argument(
        "--expected", metavar="V", help='refuse the activation unless this release is active, or none if ""'
    )
    output = parser.add_mutually_exclusive_group()
    add_json(output)
    output.add_argument("--markdown", action="store_true", help="with --dry-run: print Markdown, as a CI job comments")
    parser.set_defaults(run=_activate)


def _activate(arguments: argparse.Namespace) -> int:
    """Activate a release. The exit status is 3 if the activation is refused, and 2 after a mistake."""
    from coordinator_client.api import path
    from pipelines.release import publish

    client = publish.client_of(arguments)
    pipeline, version = _identity(arguments)
    if arguments.dry_run:
        report = client.get(path("pipelines", pipeline, "releases", version, "preflight"))
        print(json.dumps(report) if arguments.json else "\n".join(_lines(report, markdown=arguments.markdown)))
        return 0 if report["allowed"] else REFUSED
    try:
        made = publish.activate(
            client, pipeline, version, arguments.reason, arguments.expected, wait_seconds=arguments.wait
        )
    except Refused as refused:
        if refused.status not in REFUSING:
            raise
        print(f"error: {publish.of_client(refused)}", file=sys.stderr)
        return REFUSED
    shown = {
        "pipelineId": pipeline,
        "releaseVersion": made["releaseVersion"],
        "activation": f"#{made['sequence']}",
        "kind": made["kind"],
        "replaced": made["previousReleaseVersion"] or "none",
    }
    show(made if arguments.json else shown, arguments)
    return 0


def _identity(arguments: argparse.Namespace) -> tuple[str, str]:
    from pipelines.release.files import read_descriptor
    from pipelines.release.folders import descriptor_in, identity_in

    if arguments.version:
        return arguments.name, arguments.version
    if identity := identity_in(arguments.name):
        return identity
    descriptor = read_descriptor(descriptor_in(Path(arguments.name)))
    return descriptor.pipeline_id, descriptor.release_version


def _lines(report: dict[str, Any], *, markdown: bool) -> list[str]:
    """Return the lines of a pre-flight.

    As Markdown they are a code block under a heading, so that nothing in them is a link, a mention or HTML.
    """
    table = _table(report)
    if not markdown:
        return table
    longest = max((len(run) for run in re.findall("`+", "\n".join(table))), default=0)
    fence = "`" * max(3, longest + 1)
    heading = f"### Pre-flight: the activation {'is allowed' if report['allowed'] else 'would be refused'}"
    return [heading, "", f"{fence}text", *table, fence]


def _table(report: dict[str, Any]) -> list[str]:
    """Return the lines of a pre-flight: facts, refusals and warnings, callers, and what breaks."""
    load, workers, callers = report["load"], report["workers"], report["callers"]
    remaining = [f"{blocker['kind']} {blocker['count']}" for blocker in report["remaining"]["blockers"]]
    if report["remaining"]["openQuestions"]:
        remaining.append(f"open questions {report['remaining']['openQuestions']}")
    impacts = Counter(difference["impact"] for difference in report["differences"])
    facts = {
        "release": report["releaseVersion"],
        "replaces": report["activeReleaseVersion"] or "none",
        "kind": report["kind"],
        "allowed": "yes" if report["allowed"] else "no",
        "workers": f"{workers['eligible']} with room for {workers['capacity']}",
        "load": f"{load['running']} running, {load['due']} due, {load['submissionsPerMinute']:g} a minute",
        "remaining": ", ".join(remaining) or "nothing",
        "callers": f"{callers['count']} since {callers['since']}",
        "inputs": f"{callers['failing']} of {callers['checked']} would be refused",
        "differences": ", ".join(f"{count} {impact}" for impact, count in impacts.items()) or "none",
    }
    return [
        *(f"{name:<16} {value}" for name, value in facts.items()),
        *(f"gate {gate['verdict']}: {gate['name']}: {gate['detail']}" for gate in report["gates"]),
        *(f"refused: {refusal['code']}: {refusal['detail']}" for refusal in report["refusals"]),
        *(f"warning: {warning['concern']}: {warning['detail']}" for warning in report["warnings"]),
        *(line for caller in callers["callers"] if caller["failing"] for line in _caller(caller)),
    ]


def _caller(caller: dict[str, Any]) -> list[str]:
    return [
        f"{caller['name']}: {caller['failing']} of {caller['checked']} inputs would be refused",
        *(f"  {example['path']}: {example['rule']} ({example['executionId']})" for example in caller["examples"]),
    ]
