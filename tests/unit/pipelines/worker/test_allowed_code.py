"""A worker runs the code of its artifact, of installed distributions and of the standard library, and no other code."""

import py_compile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cases import cases
from tests.unit.pipelines.worker.hosting_process import (
    FLOW,
    Environment,
    at_import,
    hosted,
    hosted_each,
    in_step,
    packed,
)

EXTENSION = Path(str(getattr(find_spec("_cffi_backend"), "origin", "")))
"""Any extension module."""
TRICKS = {
    "sys.path": "import os, sys; sys.path.insert(0, os.environ['OUTSIDE']); import stranger",
    "the working folder": "import os, sys; sys.path.insert(0, ''); os.chdir(os.environ['OUTSIDE']); import stranger",
    "a folder of packages": "import os, site; site.addsitedir(os.environ['OUTSIDE']); import stranger",
    "a file by its path": """
import importlib.util, os
spec = importlib.util.spec_from_file_location("anything", os.environ["OUTSIDE"] + "/stranger.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))
""",
    "runpy": "import os, runpy; runpy.run_path(os.environ['OUTSIDE'] + '/stranger.py')",
    "runpy of a module": """
import os, runpy, sys
sys.path.insert(0, os.environ["OUTSIDE"])
runpy.run_module("stranger")
""",
    "a compiled file": """
import os
file = os.environ["OUTSIDE"] + "/stranger.py"
with open(file) as source:
    exec(compile(source.read(), file, "exec"))
""",
    "a finder": """
import importlib.util, os, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "anything":
            return importlib.util.spec_from_file_location(name, os.environ["OUTSIDE"] + "/stranger.py")
sys.meta_path.insert(0, Finder())
import anything
""",
    "a zip file": "import os, sys; sys.path.insert(0, os.environ['OUTSIDE'] + '/stranger.zip'); import stranger",
    "an extension module": "import os, sys; sys.path.insert(0, os.environ['OUTSIDE']); import _cffi_backend",
    "code without its source": "import os, sys; sys.path.insert(0, os.environ['OUTSIDE']); import stranger_compiled",
    "a namespace package": "import os, sys; sys.path.append(os.environ['OUTSIDE']); import space.near, space.stranger",
    "a new file in the artifact's folder": """
from pathlib import Path
Path("shop/stranger.py").write_text("")
import shop.stranger
""",
    "a changed file of the artifact": """
import importlib, shop
from pathlib import Path
Path(shop.__file__).write_text("stranger = 1")
importlib.reload(shop)
""",
    "a caught exception": """
import os, sys
sys.path.insert(0, os.environ["OUTSIDE"])
try:
    import stranger
except ImportError:
    pass
""",
    "another thread": """
import os, sys, threading
sys.path.insert(0, os.environ["OUTSIDE"])
thread = threading.Thread(target=__import__, args=["stranger"])
thread.start()
thread.join()
""",
}
NAMED = {"an extension module": "_cffi_backend", "a changed file of the artifact": "shop"}
"""What the error names, if not the stranger."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with few distributions, because a worker reads the records of all."""
    return Environment(tmp_path_factory.mktemp("environment")).python


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with modules that no artifact contains."""
    folder = tmp_path_factory.mktemp("outside")
    for file in ("stranger.py", "space/stranger.py", "start/sitecustomize.py", "shop/data.txt"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("")
    py_compile.compile(str(folder / "stranger.py"), str(folder / "stranger_compiled.pyc"), dfile="<unknown>")
    with zipfile.ZipFile(folder / "stranger.zip", "w") as archive:
        archive.writestr("stranger.py", "")
    (folder / EXTENSION.name).write_bytes(EXTENSION.read_bytes())
    return folder


def test_code_from_elsewhere_stops_a_worker_that_starts(
    python: Path, tmp_path: Path, outside: Path, subtests: pytest.Subtests
) -> None:
    releases = [
        packed(tmp_path / str(number), {"space/near.py": "", **at_import(code)})
        for number, code in enumerate(TRICKS.values())
    ]
    for trick, [refused] in zip(TRICKS, hosted_each(*releases, python=python, OUTSIDE=str(outside)), strict=True):
        with subtests.test(trick):
            assert refused["code"] == "FOREIGN_MODULE"
            assert NAMED.get(trick, "stranger") in refused["message"]


def test_code_from_elsewhere_fails_the_transition_that_imports_it(
    python: Path, tmp_path: Path, outside: Path, subtests: pytest.Subtests
) -> None:
    releases = [
        packed(tmp_path / str(number), {"space/near.py": "", **in_step(code)})
        for number, code in enumerate(TRICKS.values())
    ]
    again = "print(json.dumps(shown(ran(hosted))))"
    printed = hosted_each(*releases, python=python, then=again, OUTSIDE=str(outside))
    for trick, (failed, later) in zip(TRICKS, printed, strict=True):
        with subtests.test(trick):
            assert (failed["failure_class"], failed["retryable"]) == ("FOREIGN_MODULE", False)
            assert failed["must_stop"]
            assert NAMED.get(trick, "stranger") in failed["message"]
            assert (later["failure_class"], later["retryable"]) == ("FOREIGN_MODULE", True)


@cases("path", ["", "OUTSIDE"])
def test_the_working_folder_and_pythonpath_are_not_on_the_path(
    python: Path, tmp_path: Path, outside: Path, path: str
) -> None:
    descriptor = packed(tmp_path, at_import("import stranger"))
    [refused] = hosted(descriptor, folder=outside, PYTHONPATH=str(outside) if path else "", python=python)
    assert refused["code"] == "MODULE_FAILED"
    assert "No module named 'stranger'" in refused["message"]


def test_a_module_that_python_imports_at_its_start_is_refused(python: Path, tmp_path: Path, outside: Path) -> None:
    [refused] = hosted(packed(tmp_path, {}), PYTHONPATH=str(outside / "start"), python=python)
    assert refused["code"] == "FOREIGN_MODULE"
    assert "sitecustomize" in refused["message"]


def test_the_artifact_generated_code_and_other_programs_are_not_restricted(
    python: Path, tmp_path: Path, outside: Path
) -> None:
    """Files with relative names are those of the artifact."""
    extension = f"_cffi_backend{EXTENSION_SUFFIXES[0]}"
    code = """
import os, subprocess, sys
exec("generated = 1")
subprocess.run([sys.executable, os.environ["OUTSIDE"] + "/stranger.py"], check=True)
import _cffi_backend
return open("shop/data.txt").read() + os.path.relpath(_cffi_backend.__file__)
"""
    files: dict[str, str | bytes] = {"shop/data.txt": "inside ", extension: EXTENSION.read_bytes(), **in_step(code)}
    [done] = hosted(packed(tmp_path, files), folder=outside, OUTSIDE=str(outside), python=python)
    assert (done["outputs"], done["must_stop"]) == ([f"inside {extension}"], False)


def test_a_module_whose_name_means_another_one_is_refused(python: Path, tmp_path: Path) -> None:
    files = ["json.py", "wire/more.py", "pydantic/__init__.py", f"signal{EXTENSION_SUFFIXES[0]}"]
    releases = [packed(tmp_path / str(number), {file: ""}) for number, file in enumerate(files)]
    for file, [refused] in zip(files, hosted_each(*releases, python=python), strict=True):
        assert refused["code"] == "MODULE_SHADOWED"
        assert f"the module {file.partition('/')[0].partition('.')[0]}, " in refused["message"]


def test_a_process_hosts_one_artifact_with_one_contract(python: Path, tmp_path: Path) -> None:
    again = "host_artifact(descriptor, 'acme', allow_drift=True)"
    other = packed(tmp_path / "other", {"shop/flow.py": FLOW.replace("def work", "def other")})
    (done, refused), [mismatch] = hosted_each(packed(tmp_path, {}), other, python=python, then=again)
    assert done["outputs"] == ["done"]
    assert refused["code"] == "ARTIFACT_ALREADY_HOSTED"
    assert mismatch["code"] == "CONTRACT_MISMATCH"


def test_an_artifact_that_does_not_fit_on_the_disk_is_refused(python: Path, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    [refused] = hosted(packed(tmp_path, {"shop/large.txt": "x" * 2000}), before=limit, python=python)
    assert refused["code"] == "UNPACKING_FAILED"


def test_the_unpacked_artifact_is_removed_when_the_process_exits(python: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    descriptor = packed(tmp_path, in_step("open('shop/flow.py').close()"))
    forks = "sys.stdout.flush()\nif not os.fork(): sys.exit()\nos.wait(); print(json.dumps(shown(ran(hosted))))"
    before, after = hosted(descriptor, then=forks, TMPDIR=str(temporary), python=python)
    assert before["outputs"] == after["outputs"] == ["done"]
    assert list(temporary.iterdir()) == []
