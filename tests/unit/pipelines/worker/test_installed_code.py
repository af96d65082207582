"""Installed distributions run as installed. Other code in an environment does not run."""

from pathlib import Path

import pytest

from tests.unit.pipelines.worker.hosting_process import Environment, at_import, hosted, hosted_each, in_step, packed

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
