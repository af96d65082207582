"""``pipelines verify-release``: check a release offline, as the coordinator checks it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.options import add_json, show

if TYPE_CHECKING:
    from pipelines.release.verify_release import CheckedArtifact


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("descriptor", type=Path, metavar="DESCRIPTOR", help="the pipeline-release.json")
    parser.add_argument(
        "--artifact",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="an artifact that is not next to the descriptor; may be repeated",
    )
    parser.add_argument(
        "--maven",
        action="append",
        default=[],
        metavar="DIR_OR_URL",
        help="a repository that has the artifacts with maven: URIs, such as ~/.m2/repository; may be repeated; "
        "user:password is read from $PIPELINES_MAVEN_CREDENTIALS only",
    )
    parser.add_argument(
        "--contract", type=Path, metavar="FILE", help="the contract to upload; default: pipeline-contract.json, if any"
    )
    parser.add_argument("--promotable", action="store_true", help="refuse locations that only this machine can find")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Verify a release. The exit status is 2 after a wrong command, or the class of the gravest finding."""
    from pipelines.release.maven_repositories import CREDENTIALS, Repositories
    from pipelines.release.verify_release import verify

    verified = verify(
        arguments.descriptor,
        artifacts=arguments.artifact,
        repositories=Repositories(tuple(arguments.maven), os.environ.get(CREDENTIALS, "")),
        contract=arguments.contract,
        promotable=arguments.promotable,
    )
    document = verified.to_json()
    if arguments.json:
        print(json.dumps(document))
        return verified.exit_status
    names = ("profile", "descriptorDigest", "pipelineId", "contractVersion", "releaseVersion")
    facts = {name: document[name] for name in names if document[name] is not None}
    show({**facts, "promotable": "yes" if verified.is_promotable else "no"}, arguments)
    for artifact in verified.artifacts:
        print(f"artifact         {_line(artifact)}")
    print(f"status           {document['status']}")
    for finding in verified.findings:
        print(f"{finding.severity}: {finding.code}: {finding.field}: {finding.message}", file=sys.stderr)
    return verified.exit_status


def _line(artifact: CheckedArtifact) -> str:
    pinned = artifact.pinned
    what = {
        "VERIFIED": f"digest ok, {artifact.found_at}",
        "MISMATCH": f"other digest, {artifact.found_at}",
        "MISSING": f"not found, {pinned.uri}",
        "NOT_CHECKED": f"not checked, {pinned.uri}",
    }[artifact.status.value]
    return f"{pinned.artifact_id} ({pinned.kind}): {what}"
