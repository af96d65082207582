"""``pipelines verify-release``, ``verify-provenance`` and ``diff``: what can be known of a release offline."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.commands.options import add_json, add_repeated, show, warn

if TYPE_CHECKING:
    from pipelines.release.verify_release import CheckedArtifact


def add_verify_release(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("descriptor", type=Path, metavar="RELEASE", help="the folder of a release, such as dist/1.0")
    text = "an artifact that is not next to the descriptor; may be repeated"
    add_repeated(parser, "--artifact", "FILE", text)
    text = (
        "a repository that has the artifacts with maven: URIs, such as ~/.m2/repository; may be repeated; "
        "user:password is read from $PIPELINES_MAVEN_CREDENTIALS only"
    )
    add_repeated(parser, "--maven", "DIR_OR_URL", text, kind=str)
    parser.add_argument(
        "--contract", type=Path, metavar="FILE", help="the contract to upload; default: pipeline-contract.json, if any"
    )
    parser.add_argument("--promotable", action="store_true", help="refuse locations that only this machine can find")
    add_json(parser)
    parser.set_defaults(run=_verify_release)


def _verify_release(arguments: argparse.Namespace) -> int:
    """Verify a release. The exit status is 2 after a wrong command, or the class of the gravest finding."""
    from pipelines.release.files import CREDENTIALS, Repositories
    from pipelines.release.folders import descriptor_in
    from pipelines.release.verify_release import verify

    verified = verify(
        descriptor_in(arguments.descriptor),
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
    show({**facts, "promotable": verified.is_promotable}, arguments)
    for artifact in verified.artifacts:
        print(f"artifact         {_artifact(artifact)}")
    print(f"status           {document['status']}")
    for finding in verified.findings:
        print(f"{finding.severity}: {finding.code}: {finding.field}: {finding.message}", file=sys.stderr)
    return verified.exit_status


def _artifact(artifact: CheckedArtifact) -> str:
    pinned = artifact.pinned
    what = {
        "VERIFIED": f"digest ok, {artifact.found_at}",
        "MISMATCH": f"other digest, {artifact.found_at}",
        "MISSING": f"not found, {pinned.uri}",
        "NOT_CHECKED": f"not checked, {pinned.uri}",
    }[artifact.status]
    return f"{pinned.artifact_id} ({pinned.kind}): {what}"


_LISTS = frozenset({"runs", "awaits", "submittedBy", "activation", "activations", "releases", "pipelines"})


def add_verify_provenance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the signed document, as the coordinator returns it")
    text = "the coordinator's public key; repeat it after a rotation: one of them must have signed"
    add_repeated(parser, "--key", "PUBLIC.pem", text, required=True)
    text = "an artifact; each one that is given, and no other, must have run; may be repeated"
    add_repeated(parser, "--artifact", "FILE", text)
    parser.add_argument("--release", type=Path, metavar="RELEASE", help="the folder of the execution's release")
    add_json(parser)
    parser.set_defaults(run=_verify_provenance)


def _verify_provenance(arguments: argparse.Namespace) -> int:
    """Verify a document. The exit status is 1 if it is no proof, and 2 if a file cannot be used."""
    from pipelines.release import provenance
    from pipelines.release.folders import descriptor_in

    release = descriptor_in(arguments.release) if arguments.release else None
    verified = provenance.verify(arguments.file, arguments.key, arguments.artifact, release)
    if arguments.json:
        print(json.dumps({**verified.facts, "verified": not verified.problems, "problems": verified.problems}))
    else:
        facts = verified.facts
        show({name: value for name, value in facts.items() if name not in _LISTS}, arguments)
        if (submitter := facts.get("submittedBy")) is not None:
            print(f"{'submitted by':<16} {_who(submitter)}")
        if (activated := facts.get("activation")) is not None:
            print(f"{'activation':<16} {_evidence(activated)}")
        for run in facts.get("runs", []):
            print(f"run {run['sequence']:<12} {_run_line(run)}")
        for activation in facts.get("activations", []):
            print(f"activation {activation['sequence']:<5} {_activation(activation)}")
        for pipeline in facts.get("pipelines", []):
            print(f"{pipeline['pipelineId']:<16} {_active(pipeline)}")
        for problem in verified.problems:
            print(f"error: {problem}", file=sys.stderr)
    return 1 if verified.problems else 0


def _activation(activation: dict[str, Any]) -> str:
    reason = f": {activation['reason']}" if activation["reason"] else ""
    return (
        f"{activation['activatedAt']} {activation['kind']} of {activation['releaseVersion']}"
        f"{_share(activation.get('candidate'))} by {_who(activation)}{reason}"
    )


def _who(act: dict[str, Any]) -> str:
    """Return the actor, followed by the person if the actor is a token."""
    from wire.documents.execution_statement import named

    return named(act["actor"], act.get("person"))


def _share(candidate: Any) -> str:
    return f" with {candidate['share']:g} % for {candidate['releaseVersion']}" if candidate else ""


def _active(pipeline: dict[str, Any]) -> str:
    """Return which release of a pipeline was active at a time, and who activated it."""
    release, activation = pipeline["release"], pipeline["activation"]
    revoked = f", revoked {release['revocation']['revokedAt']}" if release["revocation"] else ""
    reason = f": {activation['reason']}" if activation["reason"] else ""
    return f"{release['releaseVersion']}{_share(pipeline['candidate'])}{revoked}, {_evidence(activation)}{reason}"


def _evidence(activation: dict[str, Any]) -> str:
    """Return what a document says about the activation of a release, and about the people behind it."""
    request = activation["request"]
    deeds = [("by", activation)]
    deeds += [("requested by", request)] if request else []
    deeds += [("approved by", approval) for approval in request["approvals"]] if request else []
    people = ", ".join(f"{verb} {_who(person)}" for verb, person in deeds)
    override = ", without the required approvals" if activation["override"] else ""
    return f"{activation['activatedAt']} {activation['kind']} {activation['sequence']} {people}{override}"


def _run_line(run: dict[str, object]) -> str:
    findings = run["findings"]
    doubt = f" ({', '.join(map(str, findings))})" if isinstance(findings, list) and findings else ""
    pinned = "pinned" if run["pinned"] else "not pinned"
    return (
        f"{run['outcome']} by {run['worker'] or 'unknown'}, {run['artifactDigest'] or 'no artifact'}, {pinned}{doubt}"
    )


def add_diff(parser: argparse.ArgumentParser) -> None:
    text = "the folder of the {} release, such as dist/1.0"
    parser.add_argument("old", type=Path, metavar="OLD", help=text.format("older"))
    parser.add_argument("new", type=Path, metavar="NEW", help=text.format("newer"))
    add_json(parser)
    parser.set_defaults(run=_diff)


def _diff(arguments: argparse.Namespace) -> int:
    """Compare two releases. The exit status is 1 if a difference is breaking, and 2 if a release cannot be read."""
    from pipelines.release.verify_release import read_release
    from wire.comparison.comparison import compare
    from wire.comparison.differences import described

    releases = []
    for path in (arguments.old, arguments.new):
        release, missing = read_release(path)
        releases.append(release)
        if missing:
            text = "the files of these artifacts were not found, so only their digests are compared"
            warn(f"{path}: {text}: {', '.join(missing)}")
    old, new = releases
    differences = compare(old, new)
    breaking = any(difference.is_breaking for difference in differences)
    if arguments.json:
        document = {
            "fromReleaseVersion": old.descriptor.release_version,
            "fromContractVersion": old.descriptor.contract_version,
            "toReleaseVersion": new.descriptor.release_version,
            "toContractVersion": new.descriptor.contract_version,
            "breaking": breaking,
            "differences": [difference.to_json() for difference in differences],
        }
        print(json.dumps(document))
    else:
        print(described(differences))
    return 1 if breaking else 0
