"""The documentation agrees with the code: settings, errors, findings, and links between pages."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from coordinator.command_line.words import WORDS
from coordinator.settings import env
from executions import errors as executions_errors  # noqa: F401 - its errors are looked up below
from foundation.api.problem import FRAMEWORK
from foundation.errors import CoordinatorError
from releases import errors as releases_errors  # noqa: F401
from wire.documents import shape

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FINDING = re.compile(
    r'"((?:DOCUMENT|DESCRIPTOR|CONTRACT|COMPOSITION|IDENTITY|ARTIFACT|ARCHIVE|UPLOAD|IMAGE|MAVEN'
    r'|ATTACHMENT|ENVELOPE|SIGNATURE|PROVENANCE|SBOM|COMPILED_TRUTH|IMPORTS|STEP|CAPABILITY)_[A-Z0-9_]+)"'
)

SHAPED = ("DESCRIPTOR", "CONTRACT", "ATTACHMENT")


def table_rows(page: str) -> list[list[str]]:
    """Return the cells of every table row whose first cell is code."""
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


def test_every_finding_is_documented_and_every_documented_finding_exists() -> None:
    """A finding is created with a literal code. `wire.documents.shape` creates codes for each kind of document."""
    sources = [
        file
        for folder in ("releases", "wire/archive", "wire/documents", "wire/release", "coordinator")
        for file in (DOCS.parent / folder).rglob("*.py")
        if file.parent.name != "models"
    ]
    named = {code for source in sources for code in FINDING.findall(source.read_text(encoding="utf-8"))}
    shaped = {code.format(document) for code, _ in shape.RULES.values() for document in SHAPED}
    shaped |= {"DESCRIPTOR_UNKNOWN_MEMBER", "CONTRACT_UNKNOWN_MEMBER"}
    raised = {error.code for error in errors(CoordinatorError)}
    documented = {row[0].strip("`") for row in table_rows("errors.md") if len(row) == 2}
    assert documented == (named | shaped) - raised - env.declared.keys()


PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, in GitHub's form."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_to_existing_files_and_headings(page: str) -> None:
    path = ROOT / page
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", path.read_text(encoding="utf-8")):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def commands(text: str) -> set[str]:
    """Return the names of the management commands in the code of a page, at the start of a line or a span."""
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    call = re.compile(r"^[`\s]*(?:[A-Z_]+=\S+ )?coordinator ([a-z_]+)", re.MULTILINE)
    return {name for part in code for name in call.findall(part)}


@pytest.mark.parametrize("page", PAGES)
def test_every_documented_command_exists(page: str) -> None:
    assert commands((ROOT / page).read_text(encoding="utf-8")) <= {"help", "run", *WORDS, *get_commands()}
