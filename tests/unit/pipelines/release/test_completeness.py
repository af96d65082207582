"""`build` refuses local code that the pipeline imports and the artifact does not contain."""

from pathlib import Path

import pytest

from pipelines import DefinitionError, Pipeline
from pipelines.release.packaging import build
from tests.cases import cases
from tests.unit.pipelines.conftest import IMPORTS, Author

STEP = "@pipeline.step\ndef ship(order: Order) -> Receipt:\n    return Receipt(1)\n"
MODULES = {
    "acme/__init__.py": "",
    "acme/orders/__init__.py": "",
    "acme/orders/rates.py": "",
    "acme/billing.py": "",
    "helper.py": "",
    "shared/__init__.py": "",
    "shared/money.py": "",
    "spread/inner/part.py": "",
}


def write(author: Author, body: str, **files: str) -> str:
    """Write a pipeline in the package acme.orders, and modules next to it. Return the pipeline's reference."""
    for path, text in {**MODULES, **files}.items():
        author.write(path, text)
    author.write("acme/orders/flow.py", IMPORTS + STEP + body)
    author.forget()
    return "acme.orders.flow:pipeline"


def errors(pipeline: Pipeline | str, out: Path) -> list[DefinitionError]:
    with pytest.raises(DefinitionError) as raised:
        build(pipeline, out)
    return list(raised.value.errors)


@cases(
    ("statement", "packages"),
    {
        "in a function": ("def late(): import helper", ("helper",)),
        "in an exception handler": ("try: pass\nexcept ValueError: import helper", ("helper",)),
        "a submodule from a package": ("from shared import money", ("shared",)),
        "relative, above the package": ("from ..billing import __doc__", ("acme.billing",)),
        "several": ("import helper, shared.money\nfrom .. import billing", ("acme.billing", "helper", "shared")),
        "not for type checkers": ("if typing.TYPE_CHECKING: pass\nelse: import helper", ("helper",)),
        "by a name that is computed": ("__import__('shared.' + 'money')", ("shared",)),
    }.values(),
)
def test_local_modules_that_are_not_packed_are_refused(
    author: Author, tmp_path: Path, statement: str, packages: tuple[str, ...]
) -> None:
    reference = write(author, statement)
    found = errors(reference, tmp_path)
    assert {error.code for error in found} == {"MODULE_NOT_PACKED"}
    assert all(error.message.endswith(f"; set packages={packages!r} of the Pipeline") for error in found)
    author.write(
        "acme/orders/flow.py", IMPORTS.replace('"org.acme.orders"', f'"p", packages={packages}') + STEP + statement
    )
    author.forget()
    assert build(reference, tmp_path).path.exists()


@cases(
    "statement",
    {
        "installed": "import json, pydantic.dataclasses, wire.identity",
        "the package itself": "from . import rates; from acme.orders.rates import __doc__; import acme",
        "for type checkers": "if typing.TYPE_CHECKING: import helper",
        "optional and absent": "try: import no_such_module\nexcept ImportError: pass",
        "outside of its top-level package": "def late(): from ..... import helper",
    }.values(),
)
def test_other_imports_are_accepted(author: Author, tmp_path: Path, statement: str) -> None:
    assert build(write(author, statement), tmp_path).path.exists()


def test_imports_of_packed_modules_are_followed(author: Author, tmp_path: Path) -> None:
    [error] = errors(write(author, "", **{"acme/__init__.py": "def late(): import helper"}), tmp_path)
    assert error.message.startswith("acme imports helper")
    [error] = errors(write(author, "from . import rates", **{"acme/orders/rates.py": "import helper"}), tmp_path)
    assert error.message.startswith("acme.orders.rates imports helper")


def test_a_packed_module_with_the_name_of_one_that_workers_load_is_refused(author: Author, tmp_path: Path) -> None:
    for name in ("statistics", "wire"):
        author.write(f"{name}.py", "")
        pipeline = author.pipeline(STEP)
        pipeline.packages = (name,)
        [error] = errors(pipeline, tmp_path)
        assert error.code == "MODULE_SHADOWED"
        (author.folder / f"{name}.py").unlink()


def test_an_installed_package_of_which_a_part_is_packed_must_be_packed(author: Author, tmp_path: Path) -> None:
    """On a worker the part in the artifact hides the installed package."""
    found = errors(write(author, "import packaging.markers; pipeline.packages = ('packaging.markers',)"), tmp_path)
    assert "packaging._parser" in {error.message.split()[2] for error in found}
