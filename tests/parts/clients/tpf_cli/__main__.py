"""A strict double of the framework's deployment command line.

Run it as `python -m tests.parts.clients.tpf_cli deploy ENVIRONMENT ...`.

It registers releases as the framework's client does, and accepts only what the published protocol promises. Exit
statuses: 0 done, 2 bad command line or configuration, 3 bad release, 4 an artifact cannot be resolved, 5 no access,
6 the target failed. The framework's client also has 7, for targets that start the release; this one has no such target.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.parts.clients.tpf_cli import closure, cloud, configuration, descriptor
from tests.parts.clients.tpf_cli.credentials import bearer
from tests.parts.clients.tpf_cli.descriptor import Descriptor
from tests.parts.clients.tpf_cli.failures import BadInput, CommandFailed


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command with these environment variables. Return its exit status."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        result = options.command(options, environment)
    except CommandFailed as failure:
        print(f"tpf: {failure}", file=sys.stderr)
        return failure.exit_status
    print(json.dumps(result) if options.output == "json" else f"{result['status']} {result['descriptorDigest']}")
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--release", type=Path, required=True)
    shared.add_argument("--config", type=Path, default=Path("tpf-deploy.yaml"))
    shared.add_argument("--output", choices=["human", "json"], default="human")
    parser = argparse.ArgumentParser(prog="tpf", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    deploy = commands.add_parser("deploy", parents=[shared])
    deploy.add_argument("environment")
    deploy.set_defaults(command=_deploy)
    verify = commands.add_parser("release").add_subparsers(required=True).add_parser("verify", parents=[shared])
    verify.add_argument("--resolver-profile")
    verify.set_defaults(command=_verify)
    return parser


def _deploy(options: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    environments = configuration.load(options.config).environments
    if options.environment not in environments:
        raise BadInput(f"the configuration has no environment {options.environment}")
    profile, target = environments[options.environment]
    release = descriptor.load(options.release)
    closure.verify(release, profile, environment)
    key = cloud.idempotency_key(release.digest, options.environment)
    deployment_id = cloud.register(target, release, key, bearer(target.credential, environment))
    return {
        "operation": "deploy",
        "environment": options.environment,
        "status": cloud.REGISTERED,
        "deploymentId": deployment_id,
        **_identity(release),
    }


def _verify(options: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    profile = configuration.profile_for_verification(configuration.load(options.config), options.resolver_profile)
    release = descriptor.load(options.release)
    closure.verify(release, profile, environment)
    count = len(release.artifacts)
    return {"operation": "release.verify", "status": "VERIFIED", **_identity(release), "artifactCount": count}


def _identity(release: Descriptor) -> dict[str, str]:
    return {
        "descriptorDigest": release.digest,
        "pipelineId": release.pipeline_id,
        "contractVersion": release.contract_version,
        "releaseVersion": release.release_version,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
