"""``pipelines verify-provenance``: check offline which code ran an execution, or which releases were active."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pipelines.commands.options import add_json, show

_LISTS = frozenset({"runs", "awaits", "activations", "releases"})


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the signed document, as the coordinator returns it")
    parser.add_argument(
        "--key",
        action="append",
        required=True,
        type=Path,
        metavar="PUBLIC.pem",
        help="the coordinator's public key; repeat it after a rotation: one of them must have signed",
    )
    parser.add_argument(
        "--artifact",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="an artifact; each one that is given, and no other, must have run; may be repeated",
    )
    parser.add_argument("--release", type=Path, metavar="FILE", help="the pipeline-release.json of the execution's pin")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Verify a document. The exit status is 1 if it is no proof, and 2 if a file cannot be used."""
    from pipelines.release import provenance

    verified = provenance.verify(arguments.file, arguments.key, arguments.artifact, arguments.release)
    if arguments.json:
        print(json.dumps({**verified.facts, "verified": not verified.problems, "problems": verified.problems}))
    else:
        facts = verified.facts
        show({name: value for name, value in facts.items() if name not in _LISTS}, arguments)
        for run in facts.get("runs", []):
            print(f"run {run['sequence']:<12} {_line(run)}")
        for activation in facts.get("activations", []):
            print(f"activation {activation['sequence']:<5} {_activation(activation)}")
        for problem in verified.problems:
            print(f"error: {problem}", file=sys.stderr)
    return 1 if verified.problems else 0


def _activation(activation: dict[str, object]) -> str:
    reason = f": {activation['reason']}" if activation["reason"] else ""
    candidate = activation.get("candidate")
    share = f" with {candidate['share']:g} % for {candidate['releaseVersion']}" if isinstance(candidate, dict) else ""
    return (
        f"{activation['activatedAt']} {activation['kind']} of {activation['releaseVersion']}{share} by "
        f"{activation['actor']}{reason}"
    )


def _line(run: dict[str, object]) -> str:
    findings = run["findings"]
    doubt = f" ({', '.join(map(str, findings))})" if isinstance(findings, list) and findings else ""
    pinned = "pinned" if run["pinned"] else "not pinned"
    return (
        f"{run['outcome']} by {run['worker'] or 'unknown'}, {run['artifactDigest'] or 'no artifact'}, {pinned}{doubt}"
    )
