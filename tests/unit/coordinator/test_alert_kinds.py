from pathlib import Path

from alerts.kinds import Kind

DOCS = Path(__file__).parents[3] / "docs"


def row(kind: Kind) -> str:
    thresholds = ", ".join(f"`{each.name}` ({each.default})" for each in kind.thresholds)
    purpose = kind.purpose[0].lower() + kind.purpose[1:].removesuffix(".")
    return f"| `{kind.value}` | {purpose} | {thresholds or 'none'} | [page]({kind.runbook}) |"


def test_the_documentation_lists_the_kinds_of_alert_rules() -> None:
    page = (DOCS / "alerts.md").read_text()
    rows = "\n".join(map(row, Kind))
    assert f"|---|---|---|---|\n{rows}\n\n" in page, f"the table of docs/alerts.md must be:\n{rows}"
    assert [kind for kind in Kind if not (DOCS / kind.runbook).is_file()] == []
