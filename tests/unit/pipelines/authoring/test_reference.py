import pytest

from pipelines import DefinitionError
from pipelines.authoring.reference import find
from tests.cases import cases
from tests.unit.pipelines.conftest import STEP, Author

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
    author.forget()


@cases(
    ("reference", "module"),
    [
        ("authored", "authored"),
        ("authored:pipeline", "authored"),
        ("authored.py", "authored"),
        ("./authored.py:pipeline", "authored"),
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
    ],
)
def test_the_error_says_what_to_write(reference: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=f"^{says}"):
        find(reference)
