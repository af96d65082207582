"""``pipelines publish``: upload a release, wait for its verification, activate it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TextIO

from pipelines.commands.options import add_json, show
from pipelines.errors import DefinitionError


def add(parser: argparse.ArgumentParser) -> None:
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
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
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
        show({**facts, **({"activation": f"#{activation['sequence']}"} if activation else {})}, arguments)
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
