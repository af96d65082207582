"""The alert rules and dashboards in deploy: promtool accepts them, and they use only metrics that exist."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docs.generators import metrics
from embedded.product import PROJECT
from tests.programs import output_of

PROMTOOL = shutil.which("promtool", path=f"{os.environ['PATH']}:{PROJECT}/.local/promtool/usr/bin")
RULES = PROJECT / "deploy" / "prometheus"
DASHBOARDS = sorted((PROJECT / "deploy" / "grafana").glob("*.json"))
PAGES = PROJECT / "docs" / "runbooks" / "alerts"
PARTS_OF_HISTOGRAMS = ("_bucket", "_count", "_sum")


def promtool(*arguments: str | Path) -> str:
    assert PROMTOOL, "there is no promtool; on Debian: apt-get install promtool"
    return output_of([PROMTOOL, *arguments], seconds=60)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def names() -> set[str]:
    """Return the names of all series that the product has."""
    series = set()
    for metric in [*metrics.coordinator_metrics(), *metrics.worker_metrics()]:
        suffixes = PARTS_OF_HISTOGRAMS if metric.kind == "histogram" else ("",)
        series |= {metric.name + suffix for suffix in suffixes}
    return series


def used(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:coordinator|pipelines)_\w+", expression))


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query of a dashboard with its title. Grafana's variables are replaced by values."""
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{board['title']}: {panel['title']}", re.sub(r"\$\w+", "x", target["expr"])


def test_each_alert_fires_in_one_test_and_does_not_in_another() -> None:
    promtool("test", "rules", RULES / "alerts_test.yml")
    tests = {test["name"] for test in yaml.safe_load((RULES / "alerts_test.yml").read_text())["tests"]}
    assert tests == {f"{rule['alert']} {verb}" for rule in alerts() for verb in ("fires", "does not fire")}


def test_alerts_and_dashboards_use_metrics_that_exist() -> None:
    known = names()
    for rule in alerts():
        assert used(rule["expr"]), rule["alert"]
        assert used(rule["expr"]) <= known, rule["alert"]
    for title, query in queries():
        assert used(query), title
        assert used(query) <= known, title


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    for rule in alerts():
        assert PROJECT / rule["annotations"]["runbook"] == PAGES / f"{rule['alert']}.md"
    # The other pages are about the rules of tenants.
    pages = {page.stem for page in PAGES.iterdir() if not page.stem.startswith("tenant-")}
    assert pages == {rule["alert"] for rule in alerts()}


def test_prometheus_parses_each_query_of_the_dashboards(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    file = tmp_path / "queries.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
