"""A worker runs the code of its artifact, of installed distributions and of the standard library, and no other code."""

import py_compile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cases import cases
from tests.unit.pipelines.worker.hosting_process import at_import, hosted, in_step, packed

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


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with modules that no artifact contains."""
    folder = tmp_path / "outside"
    (folder / "space").mkdir(parents=True)
    for file in ("stranger.py", "space/stranger.py"):
        (folder / file).write_text("")
    py_compile.compile(str(folder / "stranger.py"), str(folder / "stranger_compiled.pyc"), dfile="<unknown>")
    with zipfile.ZipFile(folder / "stranger.zip", "w") as archive:
        archive.writestr("stranger.py", "")
    (folder / EXTENSION.name).write_bytes(EXTENSION.read_bytes())
    return folder


@cases("trick", TRICKS)
def test_code_from_elsewhere_stops_a_worker_that_starts(trick: str, tmp_path: Path, outside: Path) -> None:
    descriptor = packed(tmp_path, {"space/near.py": "", **at_import(TRICKS[trick])})
    [refused] = hosted(descriptor, OUTSIDE=str(outside))
    assert refused["code"] == "FOREIGN_MODULE"
    assert NAMED.get(trick, "stranger") in refused["message"]


@cases("trick", TRICKS)
def test_code_from_elsewhere_fails_the_transition_that_imports_it(trick: str, tmp_path: Path, outside: Path) -> None:
    descriptor = packed(tmp_path, {"space/near.py": "", **in_step(TRICKS[trick])})
    again = "print(json.dumps(shown(ran(hosted))))"
    failed, later = hosted(descriptor, again, OUTSIDE=str(outside))
    assert (failed["failure_class"], failed["retryable"], failed["must_stop"]) == ("FOREIGN_MODULE", False, True)
    assert NAMED.get(trick, "stranger") in failed["message"]
    assert (later["failure_class"], later["retryable"]) == ("FOREIGN_MODULE", True)


@cases("path", ["", "OUTSIDE"])
def test_the_working_folder_and_pythonpath_are_not_on_the_path(path: str, tmp_path: Path, outside: Path) -> None:
    descriptor = packed(tmp_path, at_import("import stranger"))
    [refused] = hosted(descriptor, folder=outside, PYTHONPATH=str(outside) if path else "")
    assert refused["code"] == "MODULE_FAILED"
    assert "No module named 'stranger'" in refused["message"]


def test_a_module_that_python_imports_at_its_start_is_refused(tmp_path: Path, outside: Path) -> None:
    (outside / "sitecustomize.py").write_text("")
    [refused] = hosted(packed(tmp_path, {}), PYTHONPATH=str(outside))
    assert refused["code"] == "FOREIGN_MODULE"
    assert "sitecustomize" in refused["message"]


def test_files_with_relative_names_are_those_of_the_artifact(tmp_path: Path, outside: Path) -> None:
    (outside / "shop").mkdir()
    (outside / "shop/data.txt").write_text("outside")
    reading = in_step("return open('shop/data.txt').read()")
    [done] = hosted(packed(tmp_path, {"shop/data.txt": "inside", **reading}), folder=outside)
    assert done["outputs"] == ["inside"]


def test_an_extension_module_in_the_artifact_runs(tmp_path: Path) -> None:
    name = f"_cffi_backend{EXTENSION_SUFFIXES[0]}"
    importing = in_step("import os, _cffi_backend; return os.path.relpath(_cffi_backend.__file__)")
    [done] = hosted(packed(tmp_path, {name: EXTENSION.read_bytes(), **importing}))
    assert done["outputs"] == [name]


def test_code_that_a_step_generates_and_other_programs_are_not_restricted(tmp_path: Path, outside: Path) -> None:
    code = """
import os, subprocess, sys
exec("generated = 1")
subprocess.run([sys.executable, os.environ["OUTSIDE"] + "/stranger.py"], check=True)
"""
    [done] = hosted(packed(tmp_path, in_step(code)), OUTSIDE=str(outside))
    assert (done["outputs"], done["must_stop"]) == (["done"], False)


@cases("file", ["json.py", "wire/more.py", "pydantic/__init__.py", f"signal{EXTENSION_SUFFIXES[0]}"])
def test_a_module_whose_name_means_another_one_is_refused(tmp_path: Path, file: str) -> None:
    [refused] = hosted(packed(tmp_path, {file: ""}))
    assert refused["code"] == "MODULE_SHADOWED"
    assert f"the module {file.partition('/')[0].partition('.')[0]}, " in refused["message"]


def test_a_process_hosts_one_artifact(tmp_path: Path) -> None:
    done, refused = hosted(packed(tmp_path, {}), "host_artifact(descriptor, 'acme', allow_drift=True)")
    assert done["outputs"] == ["done"]
    assert refused["code"] == "ARTIFACT_ALREADY_HOSTED"


def test_an_artifact_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    [refused] = hosted(packed(tmp_path, {"shop/large.txt": "x" * 2000}), before=limit)
    assert refused["code"] == "UNPACKING_FAILED"


def test_the_unpacked_artifact_is_removed_when_the_process_exits(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    descriptor = packed(tmp_path, in_step("open('shop/flow.py').close()"))
    forks = (
        "import os; sys.stdout.flush()\nif not os.fork(): sys.exit()\nos.wait(); print(json.dumps(shown(ran(hosted))))"
    )
    before, after = hosted(descriptor, forks, TMPDIR=str(temporary))
    assert before["outputs"] == after["outputs"] == ["done"]
    assert list(temporary.iterdir()) == []
