"""The page of the kinds of alert rules."""

from typing import Final

from alerts.kinds import Kind, Threshold
from docs.generators.markdown import code, joined, table

HEAD: Final = """\
# Alert rules

The kinds of rules that look for problems in a tenant, with their thresholds. Every rule is judged every 30 seconds, for
all pipelines of its tenant or for one. [Set up alerts](../how-to/set-up-alerts.md) says how to add rules.
"""
THRESHOLDS: Final = "## Thresholds\n\nThe member `thresholds` of a rule names those that differ from the defaults."


def page() -> str:
    kinds = [(code(str(kind.value)), kind.purpose, f"[page](../{kind.runbook})") for kind in Kind]
    thresholds = [(code(str(kind.value)), *_described(each)) for kind in Kind for each in kind.thresholds]
    heads = ("kind", "threshold", "values", "default", "meaning")
    return joined(HEAD, table(("kind", "fires when", "runbook"), kinds), THRESHOLDS, table(heads, thresholds))


def _described(threshold: Threshold) -> tuple[str, ...]:
    bounds = f"{threshold.least:,} to {threshold.most:,}"
    return (
        code(threshold.name),
        bounds,
        f"{threshold.default:,}",
        f"{threshold.meaning[0].upper()}{threshold.meaning[1:]}.",
    )
