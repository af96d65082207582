import inspect
import re
import tomllib
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pkgutil import resolve_name

from django.apps import apps

from coordinator.settings import env
from coordinator_client.errors import Refused
from docs.generators.errors import api_errors, errors
from foundation.api.problem import FRAMEWORK
from foundation.database.postgresql.rights import RIGHTS
from pipelines import Pipeline as Definition
from pipelines import branch, client
from pipelines.error_codes import ADVICE
from pipelines.step_policy import StepOptions
from tests.docs.commands import DOCUMENTS, ROOT, text_of
from tests.mutants.mistakes import is_function
from wire.documents import shape
from wire.documents.json_reader import LIMITS
from wire.failure_codes import FAILURES
from wire.finding_codes import FINDINGS
from wire.messages.refusals import DROPPED, REFUSED

RUNBOOK = re.compile(
    r"# .+\*\*Meaning:.+\*\*Is work lost\?.+\*\*First:.+```sh.+\*\*Over when.+\*\*Then:\*\*\n\n1\. .+", re.DOTALL
)
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)")
FINDING = re.compile(
    r'"((?:DOCUMENT|DESCRIPTOR|CONTRACT|COMPOSITION|IDENTITY|ARTIFACT|ARCHIVE|UPLOAD|IMAGE|MAVEN'
    r'|ATTACHMENT|ENVELOPE|SIGNATURE|PROVENANCE|SBOM|COMPILED_TRUTH|IMPORTS|STEP|CAPABILITY|REPOSITORY|PROFILE)_[A-Z0-9_]+)"'
)
RAISED = re.compile(
    r"(?:(?:DefinitionError|ProtocolError|MessageRefused|Failed|failed)\(\s*(?:\w+, )?|failure_class=)"
    r'"([A-Z]+(?:_[A-Z]+)+)"'
)
NAME = re.compile(r"`(\w+)`")
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")

SHAPED = ("DESCRIPTOR", "CONTRACT", "ATTACHMENT")
TEXT = "\n".join(text_of(page) for page in DOCUMENTS if page.startswith(("docs/contributing/", "CONTRIBUTING")))
PROJECT = tomllib.loads(text_of("pyproject.toml"))
TOP = PROJECT["tool"]["importlinter"]["root_packages"]
DOTTED = re.compile(rf"`((?:{'|'.join(TOP)})(?:\.\w+)+)`")
FILE = re.compile(r"`((?:\w+/)+[\w.]*|\w+\.(?:py|toml))`")
TASKS = {"releases.verify"}
"""Names of Celery tasks, which look like dotted names."""


def table_rows(page: str) -> list[list[str]]:
    lines = text_of(f"docs/{page}").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def test_every_table_is_documented_with_its_retention_or_the_reason_why_it_may_grow() -> None:
    rows = table_rows("reference/tables.md")
    assert all(len(rule) > 10 for _, _, rule in rows)
    documented = [(name, removed) for tables, removed, _ in rows for name in re.findall(r"`(\w+)`", tables)]
    managed = [model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed]
    assert sorted(documented) == sorted((name, "yes" if RIGHTS[name].delete else "no") for name in managed)


def test_every_error_says_what_to_do() -> None:
    documented = api_errors()
    assert {code for code, (_, title, advice) in documented.items() if not (title and advice)} == set()
    assert {code for code, _ in FRAMEWORK.values()} | {error.code for error in errors()} == documented.keys()
    # The client has a class for some codes, and one for each group of statuses.
    groups = Refused.__subclasses__()
    of_codes = {cls for group in groups for cls in group.__subclasses__()}
    assert {cls.__name__ for cls in (*of_codes, *groups)} <= {*client.__all__}
    for code, (status, _, _) in documented.items():
        cls = type(Refused(status, {}, {"code": code}))
        assert cls in groups or cls.__name__ == code.replace("INTERACTION", "QUESTION").title().replace("_", "")
        of_codes.discard(cls)
    assert of_codes == set()


def test_every_finding_has_a_meaning_and_every_meaning_a_finding() -> None:
    """A finding is created with a literal code. `wire.documents.shape` creates codes for each kind of document."""
    sources = [
        file
        for folder in ("releases", "wire/documents", "wire/release", "coordinator", "pipelines/release")
        for file in (ROOT / folder).rglob("*.py")
        if file.parent.name != "models"
    ]
    named = {code for source in sources for code in FINDING.findall(source.read_text(encoding="utf-8"))}
    shaped = {code.format(document) for code, _ in shape.RULES.values() for document in SHAPED}
    shaped |= {"DESCRIPTOR_UNKNOWN_MEMBER", "CONTRACT_UNKNOWN_MEMBER"}
    others = {error.code for error in errors()} | env.declared.keys() | ADVICE.keys()
    assert {code for meanings in FINDINGS.values() for code in meanings} == (named | shaped) - others


def test_every_code_has_a_meaning_and_every_meaning_a_code() -> None:
    tables = {"error_codes.py", "failure_codes.py", "refusals.py"}
    folders = ("executions", "governance", "pipelines", "wire")
    sources = [file for folder in folders for file in (ROOT / folder).rglob("*.py") if file.name not in tables]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    meanings = ADVICE.keys() | FAILURES.keys() | REFUSED.keys() | DROPPED.keys()
    assert set(RAISED.findall(text)) - meanings == set()
    assert {code for code in meanings if not re.search(rf"\b{code}\b", text)} == set()


@cache
def anchors(page: str) -> set[str]:
    """Return the anchors of the headings of a page, in GitHub's form."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_to_existing_files_and_headings() -> None:
    dead = []
    for page in DOCUMENTS:
        for target, anchor in LINK.findall(text_of(page)):
            linked = (ROOT / page).parent.joinpath(target).resolve() if target else ROOT / page
            if not linked.exists() or (anchor and anchor not in anchors(str(linked.relative_to(ROOT)))):
                dead.append(f"{page}: {target}#{anchor}")
    assert dead == []


def test_every_runbook_answers_the_same_questions_in_the_same_order() -> None:
    pages = [page for page in DOCUMENTS if page.startswith("docs/runbooks/")]
    assert pages
    assert [page for page in pages if not RUNBOOK.fullmatch(text_of(page))] == []


def test_each_claim_of_compatibility_names_one_test_that_exists() -> None:
    nodes = re.findall(r"^\| .+ \| (.+) \|$", text_of("docs/contributing/compatibility-claims.md"), re.MULTILINE)[1:]
    assert nodes
    assert [node for node in nodes if not (node.startswith("`tests/") and is_function(node.strip("`")))] == []


def test_the_limits_of_values_are_listed() -> None:
    section = text_of("docs/reference/language.md").partition("## Limits of values")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w ]+) \| ([\d,]+) \|$", section, re.MULTILINE)
    assert {name: int(most.replace(",", "")) for name, most in rows} == LIMITS


def test_every_option_of_the_language_is_listed() -> None:
    section = text_of("docs/reference/language.md").partition("## All options")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", section, re.MULTILINE)
    listed = [
        (call, option) for calls, options in rows for call in NAME.findall(calls) for option in NAME.findall(options)
    ]
    methods = (
        Definition.step,
        Definition.awaits,
        Definition.calls,
        Definition.timer,
        Definition.gather,
        Definition.choose,
    )
    declared = []
    for call in (Definition, *methods, branch):
        options = {*inspect.signature(call).parameters}
        options |= {*StepOptions.__annotations__} if "policy" in options else set()
        declared += [(call.__name__, option) for option in options - {"self", "function", "policy"}]
    assert sorted(listed) == sorted(declared)


def test_the_tests_of_each_version_exist() -> None:
    named = TEST.findall(text_of("docs/contributing/interoperation-versions.md"))
    assert len(named) > 10
    assert [name for name in named if not is_function(f"tests/{'::'.join(name)}")] == []


def test_every_dotted_name_exists() -> None:
    names = set(DOTTED.findall(TEXT)) - TASKS
    assert names
    assert [name for name in sorted(names) if not exists(name)] == []


def exists(name: str) -> bool:
    with suppress(ModuleNotFoundError):  # a part of the name is no package
        if find_spec(name):
            return True
    with suppress(ImportError, AttributeError):
        resolve_name(name)
        return True
    return False


def test_every_file_and_folder_exists() -> None:
    names = set(FILE.findall(TEXT))
    assert names
    assert [name for name in sorted(names) if not ((ROOT / name).exists() or (ROOT / "tests" / name).exists())] == []
