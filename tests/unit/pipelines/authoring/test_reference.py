import pytest

from pipelines import DefinitionError
from pipelines.authoring.reference import find
from tests.cases import cases
from tests.unit.pipelines.conftest import STEP, Author
from tests.words import words

PIPELINE = "from pipelines import Pipeline\n{} = Pipeline({!r})\n"


@pytest.fixture(autouse=True)
def folder(author: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(author.folder)
    author.pipeline(STEP)
    author.write("two.py", PIPELINE.format("first", "1") + PIPELINE.format("second", "2"))
    author.write("src/acme/__init__.py", "")
    author.write("src/acme/shop/__init__.py", "from authored import pipeline as base\n")
    author.write("src/acme/shop/orders.py", "from acme.shop import base\n" + PIPELINE.format("flow", "acme"))
    author.write("loose/late.py", PIPELINE.format("flow", "late"))
    author.write("json.py", PIPELINE.format("flow", "json"))
    author.write("my-orders.py", PIPELINE.format("flow", "my"))
    author.write("empty.py", "")
    author.write("broken.py", "def fail():\n    ''\n    1 / 0\nfail()")
    author.write("unwritten.py", "\ndef f(:")
    author.write("optional.py", "from pipelines import Pipeline\npipeline = Pipeline('a', checkpoints=True)")
    author.write("twice.py", "from pipelines import Pipeline\none = Pipeline('a')\ntwo = Pipeline('a')")
    author.write("leaving.py", "raise SystemExit(3)")
    author.forget()


@cases(
    ("reference", "module"),
    [
        *((text, "authored") for text in words("authored authored:pipeline authored.py ./authored.py:pipeline")),
        ("two.py:second", "two"),
        ("src/acme/shop/orders.py", "acme.shop.orders"),
        ("loose/late.py", "late"),
    ],
)
def test_a_file_or_a_module_names_a_pipeline(reference: str, module: str) -> None:
    assert find(reference).module == module


@cases(
    ("reference", "says"),
    [
        ("orders.py", "MODULE_NOT_FOUND: there is no file orders.py"),
        ("authored.json", "MODULE_NOT_FOUND: there is no module authored.json"),
        ("authored.py:", "INVALID_REFERENCE: .*write orders.py"),
        ("a b", "INVALID_REFERENCE: .*write orders.py"),
        ("my-orders.py", "INVALID_REFERENCE: .*letters, digits"),
        ("two.py", "NAME_NOT_FOUND: .*name one: two.py:first"),
        ("two:third", "NAME_NOT_FOUND: .*first, second"),
        ("empty", "NAME_NOT_FOUND: module empty has no pipeline"),
        ("json.py", "MODULE_SHADOWED: .*rename the file"),
        ("authored:pipeline()", "INVALID_REFERENCE: .*MODULE:NAME"),
        ("nowhere:pipeline", "MODULE_NOT_FOUND: .*no module nowhere"),
        ("broken:pipeline", "MODULE_FAILED: .*broken.py:3: .*ZeroDivisionError"),
        ("unwritten:pipeline", "MODULE_FAILED: .*unwritten.py:2: .*SyntaxError"),
        ("leaving:pipeline", "MODULE_FAILED: .*SystemExit"),
        ("optional:pipeline", "INVALID_OPTIONS: .*optional.py:2: Pipeline has no.*did you mean checkpoint="),
        ("twice:one", "DUPLICATE_PIPELINE_ID: .*twice.py:2: twice.py:3 defines another pipeline with the id 'a'"),
        ("authored:pipelin", "NAME_NOT_FOUND: .*defines the pipelines pipeline"),
        ("authored:Order", "NOT_A_PIPELINE: .*Order is a type, not a Pipeline; it defines the pipelines pipeline"),
    ],
)
def test_the_error_says_what_to_write(reference: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=f"^{says}"):
        find(reference)
