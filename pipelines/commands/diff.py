"""``pipelines diff``: what changes from one release to another one."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.options import add_json, warn

if TYPE_CHECKING:
    from pipelines.release.comparison import LocalRelease
    from wire.comparison.differences import Difference


def add(parser: argparse.ArgumentParser) -> None:
    text = "the pipeline-release.json of the {} release, or its folder"
    parser.add_argument("old", type=Path, metavar="OLD", help=text.format("older"))
    parser.add_argument("new", type=Path, metavar="NEW", help=text.format("newer"))
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Compare two releases. The exit status is 1 if a difference is breaking, and 2 if a release cannot be read."""
    from pipelines.release.comparison import read_release
    from wire.comparison.comparison import compare

    old, new = read_release(arguments.old), read_release(arguments.new)
    for path, release in ((arguments.old, old), (arguments.new, new)):
        _warn_of_missing(path, release)
    differences = compare(old.facts, new.facts)
    breaking = any(each.is_breaking for each in differences)
    if arguments.json:
        document = {
            "fromReleaseVersion": old.facts.descriptor.release_version,
            "fromContractVersion": old.facts.descriptor.contract_version,
            "toReleaseVersion": new.facts.descriptor.release_version,
            "toContractVersion": new.facts.descriptor.contract_version,
            "breaking": breaking,
            "differences": [each.to_json() for each in differences],
        }
        print(json.dumps(document))
    else:
        for each in differences:
            print(_line(each))
        counts = Counter(each.impact.value for each in differences)
        print(", ".join(f"{count} {impact}" for impact, count in counts.items()) or "no differences")
    return 1 if breaking else 0


def _line(each: Difference) -> str:
    values = f": {each.before or 'none'} -> {each.after or 'none'}" if each.before or each.after else ""
    return f"{each.impact}: {each.kind} {each.path or each.area}{values}. {each.reason}"


def _warn_of_missing(path: Path, release: LocalRelease) -> None:
    if release.missing:
        warn(
            f"{path}: the files of these artifacts were not found, so only their digests are compared: "
            f"{', '.join(release.missing)}"
        )
