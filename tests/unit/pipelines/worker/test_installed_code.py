"""Installed distributions run as installed. Other code in an environment does not run."""

import base64
import hashlib
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.unit.pipelines.worker.hosting_process import at_import, hosted, hosted_each, in_step, packed

NEEDED = (
    "annotated-types",
    "packaging",
    "pydantic",
    "pydantic-core",
    "structlog",
    "typing-extensions",
    "typing-inspection",
)
FINDER = """
import importlib.util, sys

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "stranger":
            return importlib.util.spec_from_file_location(name, "{file}")

def install():
    sys.meta_path.append(Finder)
"""


class Environment:
    """A virtual environment with the distributions that a worker needs."""

    def __init__(self, folder: Path) -> None:
        base = Path(sys.executable).resolve()
        self.python = folder / "bin/python"
        self.packages = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        self.packages.mkdir(parents=True)
        self.python.parent.mkdir()
        self.python.symlink_to(base)
        (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
        for name in NEEDED:
            for file in distribution(name).files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    target = self.packages / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(str(file.locate()), target)

    def install(self, name: str, files: dict[str, str]) -> None:
        """Write a distribution's files and record their digests."""
        lines = []
        for file, text in files.items():
            (self.packages / file).write_text(text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            lines.append(f"{file},sha256={digest},{len(text)}\n")
        metadata = self.packages / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "RECORD").write_text("".join(lines))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A module in the folder of its source, from which it may be installed for development."""
    file = tmp_path / "project/stranger.py"
    file.parent.mkdir()
    file.write_text("")
    return file


def test_an_installed_module_runs(environment: Environment, tmp_path: Path) -> None:
    environment.install("library", {"library.py": ""})
    [done] = hosted(packed(tmp_path, in_step("import library, packaging.metadata")), python=environment.python)
    assert (done["outputs"], done["must_stop"]) == (["done"], False)


def test_code_that_no_distribution_records_as_it_is_is_refused(environment: Environment, tmp_path: Path) -> None:
    """The worker itself has imported one of the changed libraries before it hosts an artifact."""
    for file in ("metadata.py", "version.py"):
        original = (environment.packages / "packaging" / file).read_text()
        (environment.packages / "packaging" / file).write_text(original + "\n# changed\n")
        release = packed(tmp_path / file, at_import("import packaging.metadata"))
        [refused] = hosted(release, python=environment.python)
        assert refused["code"] == "FOREIGN_MODULE"
        assert f"the module packaging.{Path(file).stem} " in refused["message"]
        (environment.packages / "packaging" / file).write_text(original)
    (environment.packages / "stranger.py").write_text("")
    [refused] = hosted(packed(tmp_path, at_import("import stranger")), python=environment.python)
    assert (refused["code"], "the module stranger" in refused["message"]) == ("FOREIGN_MODULE", True)


def test_a_pth_file_adds_no_folder_to_the_path(environment: Environment, tmp_path: Path, stranger: Path) -> None:
    """Editable installs of most tools, and the author's own .pth files, name a folder with sources."""
    (environment.packages / "project.pth").write_text(f"{stranger.parent}\n")
    [refused] = hosted(packed(tmp_path, at_import("import stranger")), python=environment.python)
    assert refused["code"] == "MODULE_FAILED"
    assert "No module named 'stranger'" in refused["message"]


def test_an_editable_install_with_a_finder_is_refused(environment: Environment, tmp_path: Path, stranger: Path) -> None:
    """Setuptools installs such finders."""
    environment.install("project", {"project_finder.py": FINDER.format(file=stranger)})
    (environment.packages / "project.pth").write_text("import project_finder; project_finder.install()\n")
    importing, other = packed(tmp_path, at_import("import stranger")), packed(tmp_path / "other", {})
    [refused], [done] = hosted_each(importing, other, python=environment.python)
    assert refused["code"] == "FOREIGN_MODULE"
    assert str(stranger) in refused["message"]
    assert done["outputs"] == ["done"]


def test_a_pth_file_that_runs_code_from_elsewhere_is_refused(
    environment: Environment, tmp_path: Path, stranger: Path
) -> None:
    (environment.packages / "project.pth").write_text(f"{stranger.parent}\nimport stranger\n")
    [refused] = hosted(packed(tmp_path, {}), python=environment.python)
    assert refused["code"] == "FOREIGN_MODULE"
    assert str(stranger) in refused["message"]
