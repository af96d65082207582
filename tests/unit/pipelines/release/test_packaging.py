import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from embedded.product import PROJECT
from examples.payments_v2.pipeline import pipeline as payments_v2
from pipelines import DefinitionError, Pipeline
from pipelines.authoring.compiler import compile_contract
from pipelines.environment import Environment
from pipelines.release.descriptor import release
from pipelines.release.packaging import artifact_digest, build
from tests.cases import cases
from tests.raising import error_of
from tests.unit.pipelines.conftest import IMPORTS, STEP, Author
from tests.words import words
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, PYTHON_ENTRY
from wire.documents.descriptor import CHECKPOINTS, parse_descriptor

DOCUMENTS = [CONTRACT_ENTRY, PYTHON_ENTRY, LOCK_ENTRY]


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def built(pipeline: Pipeline, out: Path) -> list[str]:
    return list(entries(build(pipeline, out).path))


def test_the_same_source_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    """Other folder, times, modes, order of creation, hash seed, locale and time zone."""
    elsewhere, out = tmp_path / "ü", tmp_path / "out"
    for file in sorted((PROJECT / "examples").rglob("*.py"), reverse=True):
        copy = elsewhere / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
        os.utime(copy, (1, 1))
    for file in PROJECT.glob("examples/payments*/data/*"):
        shutil.copytree(file.parent, elsewhere / file.parent.relative_to(PROJECT), dirs_exist_ok=True)
    reference = "examples.payments_v2.pipeline:pipeline"
    command = [sys.executable, "-m", "pipelines", "build", reference, "--out", str(out)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo"}
    subprocess.run(command, cwd=elsewhere, env={**env, "LC_ALL": "C"}, umask=0o077, check=True, capture_output=True)
    [artifact] = out.glob("*.zip")
    assert artifact_digest(payments_v2) == f"sha256:{hashlib.sha256(artifact.read_bytes()).hexdigest()}"


def test_an_artifact_holds_the_package_and_its_contract(author: Author, tmp_path: Path) -> None:
    author.write("acme/__init__.py", "")
    author.write("acme/other/secret.py", "")
    author.write("acme/orders/inner/__init__.py", "")
    author.write("acme/orders/data/rates.csv", "a,b\n")
    author.write("acme/orders/.hidden", "")
    author.write("acme/orders/.git/config", "")
    author.write("acme/orders/__pycache__/x.pyc", "")
    pipeline = author.pipeline(STEP, module="acme.orders.flow")
    artifact = build(pipeline, tmp_path / "dist")
    files = ("__init__.py", "orders/data/rates.csv", "orders/flow.py", "orders/inner/__init__.py")
    assert list(entries(artifact.path)) == [*DOCUMENTS, *(f"acme/{file}" for file in files)]
    with zipfile.ZipFile(artifact.path) as archive:
        assert json.loads(archive.read(CONTRACT_ENTRY)) == artifact.contract == compile_contract(pipeline)
        assert archive.read("acme/orders/data/rates.csv") == b"a,b\n"
        for entry in archive.infolist():
            assert (entry.compress_type, entry.create_system) == (zipfile.ZIP_STORED, 3)
            assert (entry.date_time, entry.external_attr >> 16) == ((1980, 1, 1, 0, 0, 0), 0o100644)


def test_a_lock_replaces_the_installed_distributions_and_changes_the_digest(author: Author, tmp_path: Path) -> None:
    pipeline = author.pipeline(STEP)
    default = build(pipeline, tmp_path)
    with default.path.open("rb") as file:
        locked = build(pipeline, tmp_path, lock="alpha==1.0\n")
        data = file.read()  # of the old file: the new one has replaced it atomically
    assert locked.contract == default.contract
    assert default.digest == artifact_digest(pipeline) == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert locked.digest == artifact_digest(pipeline, "alpha==1.0\n") != default.digest
    assert entries(locked.path)[LOCK_ENTRY] == b"alpha==1.0\n"
    assert build(pipeline, tmp_path, lock=Environment.current().required.lock).digest == default.digest


def test_a_package_or_a_single_module_is_packed_and_others_on_request(author: Author, tmp_path: Path) -> None:
    for path in ("beside.py", "acme/rates.py", "shared/__init__.py", "shared/money/rounding.py"):
        author.write(path, "")
    author.write("single.py", "def ship(order: int) -> int: return order")
    author.write("acme/__init__.py", IMPORTS + STEP)
    author.write("more.py", IMPORTS + "from single import ship\npipeline.step(ship)\n")
    assert built(author.load("acme:pipeline"), tmp_path) == [*DOCUMENTS, "acme/__init__.py", "acme/rates.py"]
    pipeline = author.load("more:pipeline")
    with pytest.raises(DefinitionError, match=r"STEP_NOT_PACKED: step \"Ship\".*packages=\('single',\)"):
        build(pipeline, tmp_path)
    pipeline.packages = ("shared.money", "single")
    shared = ["shared/__init__.py", "shared/money/rounding.py"]
    assert built(pipeline, tmp_path) == [*DOCUMENTS, "more.py", *shared, "single.py"]
    for unknown in ("no_such_package", "sys"):
        pipeline.packages = (unknown,)
        assert error_of(DefinitionError, build, pipeline, tmp_path).code == "PACKAGE_NOT_FOUND"


def test_a_linked_folder_is_packed_and_a_link_that_cannot_be_packed_is_named(author: Author, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "tables.csv").write_text("a\n")
    author.write("acme/__init__.py", "")
    pipeline = author.pipeline(STEP, module="acme.orders.flow")
    package = author.folder / "acme/orders"
    link = package / "linked"
    link.symlink_to(shared)
    assert "acme/orders/linked/tables.csv" in built(pipeline, tmp_path / "out")
    for target in (package, tmp_path / "nothing"):
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(DefinitionError, match=f"SOURCE_UNREADABLE.*{link}"):
            built(pipeline, tmp_path / "out")


MODULES = words(
    """
    acme/__init__.py acme/orders/__init__.py acme/orders/rates.py acme/billing.py helper.py shared/__init__.py
    shared/money.py spread/inner/part.py
    """
)


def write(author: Author, body: str, **files: str) -> str:
    """Write a pipeline in the package acme.orders, and modules next to it. Return the pipeline's reference."""
    for path, text in {**dict.fromkeys(MODULES, ""), **files}.items():
        author.write(path, text)
    author.write("acme/orders/flow.py", IMPORTS + STEP + body)
    author.forget()
    return "acme.orders.flow:pipeline"


def errors(pipeline: Pipeline | str, out: Path) -> list[DefinitionError]:
    return list(error_of(DefinitionError, build, pipeline, out).errors)


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
    mistakes = errors(reference, tmp_path)
    assert {error.code for error in mistakes} == {"MODULE_NOT_PACKED"}
    assert all(error.message.endswith(f"; set packages={packages!r} of the Pipeline") for error in mistakes)
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
    mistakes = errors(write(author, "import packaging.markers; pipeline.packages = ('packaging.markers',)"), tmp_path)
    assert "packaging._parser" in {error.message.split()[2] for error in mistakes}


def test_checkpoints_add_one_entry_to_the_artifact_and_change_no_other(author: Author, tmp_path: Path) -> None:
    pipeline = author.pipeline(STEP)
    assert pipeline.checkpoint is False
    without = build(pipeline, tmp_path / "without")
    assert set(entries(without.path)) == {CONTRACT_ENTRY, PYTHON_ENTRY, LOCK_ENTRY, "authored.py"}
    assert release(tmp_path / "without").document["artifacts"][0]["capabilities"] == []

    pipeline.checkpoint = True
    asking = build(pipeline, tmp_path / "asking")
    assert entries(asking.path) == {**entries(without.path), CAPABILITIES_ENTRY: b'["checkpoint-each-step"]\n'}
    [artifact] = parse_descriptor(release(tmp_path / "asking").path.read_bytes()).artifacts
    assert artifact.capabilities == (CHECKPOINTS,)
    # The semantics are the same, and so is the contract. The way it runs differs, and so does the release.
    assert asking.contract == without.contract
    assert asking.digest != without.digest
