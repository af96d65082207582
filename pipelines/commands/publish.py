"""``pipelines publish``: upload a release, wait for its verification, activate it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TextIO

from pipelines.commands.options import add_json, add_target, show


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"), metavar="DIR", help="default: dist")
    add_target(parser)
    parser.add_argument(
        "--attach", action="append", default=[], type=Path, metavar="FILE", help="a signature, provenance or SBOM"
    )
    parser.add_argument("--activate", action="store_true", help="activate the release after its registration")
    parser.add_argument("--reason", default="", help="why it is activated")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Publish a release. The exit status is 1 if the release was not registered, and 2 after a mistake."""
    from pipelines.release import connection, publish

    client = connection.client_of(arguments)
    bar = _Bar(sys.stderr)
    release = publish.publish(arguments.folder, client, progress=bar.progress, attach=arguments.attach)
    activation = None
    if release["status"] == "REGISTERED" and arguments.activate:
        activation = publish.activate_published(arguments.folder, release, client, reason=arguments.reason)
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
        show({**facts, **({"activation": f"#{activation['sequence']}"} if activation else {})}, arguments)
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
