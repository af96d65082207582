"""The documentation and the code are held together: settings, error codes, and the commands that the README shows."""

import re
from pathlib import Path

import pytest

from coordinator.settings import env
from executions import errors as executions_errors  # noqa: F401 - its errors are looked up below
from foundation.api.problem import FRAMEWORK
from foundation.errors import CoordinatorError
from releases import errors as releases_errors  # noqa: F401
from wire.documents import shape

DOCS = Path(__file__).parents[2] / "docs"
FINDING = re.compile(
    r'"((?:DOCUMENT|DESCRIPTOR|CONTRACT|COMPOSITION|IDENTITY|ARTIFACT|ARCHIVE|UPLOAD|IMAGE'
    r'|ATTACHMENT|ENVELOPE|SIGNATURE|PROVENANCE|SBOM)_[A-Z0-9_]+)"'
)

SHAPED = ("DESCRIPTOR", "CONTRACT", "ATTACHMENT")


def table_rows(page: str) -> list[list[str]]:
    """The cells of every table row whose first cell is code."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def test_every_setting_is_documented_as_it_is_declared() -> None:
    documented = {row[0].strip("`"): row[1:3] for row in table_rows("settings.md")}
    declared = {}
    for variable in env.declared.values():
        default = {None: "required", "": "empty"}.get(variable.default, f"`{variable.default}`")
        declared[variable.name] = [variable.kind, default]
    assert documented == declared


def errors(base: type[CoordinatorError]) -> set[type[CoordinatorError]]:
    found = {base} if "code" in vars(base) else set()
    return found.union(*(errors(child) for child in base.__subclasses__()))


def test_every_error_is_documented_with_its_status_and_title() -> None:
    documented = {row[0].strip("`"): (row[1], row[2]) for row in table_rows("errors.md") if row[1].isdigit()}
    raised = {error.code: (str(error.status), error.title) for error in errors(CoordinatorError)}
    assert {code: documented.get(code) for code in raised} == raised
    assert {code for code, _ in FRAMEWORK.values()} <= documented.keys()


def test_every_finding_is_documented_and_every_documented_one_is_made() -> None:
    """Findings are named where they are made; those of `wire.documents.shape` are made for each kind of document."""
    sources = [
        file
        for folder in ("releases", "wire/archive", "wire/documents", "coordinator")
        for file in (DOCS.parent / folder).rglob("*.py")
        if file.parent.name != "models"
    ]
    named = {code for source in sources for code in FINDING.findall(source.read_text(encoding="utf-8"))}
    shaped = {code.format(document) for code, _ in shape.RULES.values() for document in SHAPED}
    shaped |= {"DESCRIPTOR_UNKNOWN_MEMBER", "CONTRACT_UNKNOWN_MEMBER"}
    raised = {error.code for error in errors(CoordinatorError)}
    documented = {row[0].strip("`") for row in table_rows("errors.md") if len(row) == 2}
    assert documented == (named | shaped) - raised - env.declared.keys()


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (DOCS / target).exists(), target
