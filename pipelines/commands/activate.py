"""``pipelines activate``: activate a registered release, or say what would happen."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from typing import Any

from coordinator_client.errors import Refused
from pipelines.commands.options import add_json, add_target, show

REFUSED = 3
"""The exit status if the activation is refused."""
REFUSING = frozenset({409, 422})
"""The statuses of responses by which the state of the pipeline or its policy refuses an activation."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE_ID")
    parser.add_argument("version", metavar="RELEASE_VERSION")
    add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would happen, and change nothing")
    parser.add_argument("--reason", default="", help="why it is activated")
    parser.add_argument(
        "--expected", metavar="V", help='refuse the activation unless this release is active, or none if ""'
    )
    output = parser.add_mutually_exclusive_group()
    add_json(output)
    output.add_argument("--markdown", action="store_true", help="with --dry-run: print Markdown, as a CI job comments")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Activate a release. The exit status is 3 if the activation is refused, and 2 after a mistake."""
    from coordinator_client.api import path
    from pipelines.release import connection, publish

    client = connection.client_of(arguments)
    if arguments.dry_run:
        found = client.get(path("pipelines", arguments.pipeline, "releases", arguments.version, "preflight"))
        print(json.dumps(found) if arguments.json else "\n".join(_lines(found, markdown=arguments.markdown)))
        return 0 if found["allowed"] else REFUSED
    try:
        made = publish.activate(client, arguments.pipeline, arguments.version, arguments.reason, arguments.expected)
    except Refused as refused:
        if refused.status not in REFUSING:
            raise
        print(f"error: {connection.of_client(refused)}", file=sys.stderr)
        return REFUSED
    shown = {
        "pipelineId": arguments.pipeline,
        "releaseVersion": made["releaseVersion"],
        "activation": f"#{made['sequence']}",
        "kind": made["kind"],
        "replaced": made["previousReleaseVersion"] or "none",
    }
    show(made if arguments.json else shown, arguments)
    return 0


def _lines(found: dict[str, Any], *, markdown: bool) -> list[str]:
    """Return the lines of a pre-flight.

    As Markdown they are a code block under a heading, so that nothing in them is a link, a mention or HTML.
    """
    table = _table(found)
    if not markdown:
        return table
    longest = max((len(run) for run in re.findall("`+", "\n".join(table))), default=0)
    fence = "`" * max(3, longest + 1)
    heading = f"### Pre-flight: the activation {'is allowed' if found['allowed'] else 'would be refused'}"
    return [heading, "", f"{fence}text", *table, fence]


def _table(found: dict[str, Any]) -> list[str]:
    """Return the lines of a pre-flight: facts, refusals and warnings, callers, and what breaks."""
    load, workers, callers = found["load"], found["workers"], found["callers"]
    remaining = [f"{each['kind']} {each['count']}" for each in found["remaining"]["blockers"]]
    if found["remaining"]["openQuestions"]:
        remaining.append(f"open questions {found['remaining']['openQuestions']}")
    impacts = Counter(each["impact"] for each in found["differences"])
    facts = {
        "release": found["releaseVersion"],
        "replaces": found["activeReleaseVersion"] or "none",
        "kind": found["kind"],
        "allowed": "yes" if found["allowed"] else "no",
        "workers": f"{workers['eligible']} with room for {workers['capacity']}",
        "load": f"{load['running']} running, {load['due']} due, {load['submissionsPerMinute']:g} a minute",
        "remaining": ", ".join(remaining) or "nothing",
        "callers": f"{callers['count']} since {callers['since']}",
        "inputs": f"{callers['failing']} of {callers['checked']} would be refused",
        "differences": ", ".join(f"{count} {impact}" for impact, count in impacts.items()) or "none",
    }
    return [
        *(f"{name:<16} {value}" for name, value in facts.items()),
        *(f"gate {gate['verdict']}: {gate['name']}: {gate['detail']}" for gate in found["gates"]),
        *(f"refused: {each['code']}: {each['detail']}" for each in found["refusals"]),
        *(f"warning: {each['concern']}: {each['detail']}" for each in found["warnings"]),
        *(line for caller in callers["callers"] if caller["failing"] for line in _caller(caller)),
    ]


def _caller(caller: dict[str, Any]) -> list[str]:
    return [
        f"{caller['name']}: {caller['failing']} of {caller['checked']} inputs would be refused",
        *(f"  {each['path']}: {each['rule']} ({each['executionId']})" for each in caller["examples"]),
    ]
