"""What is installed, as the folders and RECORD files of distributions say it."""

import hashlib
import sys
from pathlib import Path

from pipelines.environment.distributions import hexadecimal, recorded_modules
from pipelines.environment.installed_code import InstalledCode, canonical


def test_recorded_digests_are_those_of_the_installed_files() -> None:
    modules = recorded_modules()
    for module in ("pydantic.main", "packaging.markers", "pydantic_core._pydantic_core", "requests"):
        __import__(module)
        file = canonical(str(sys.modules[module].__file__))
        assert hexadecimal(modules[file]) == hashlib.sha256(Path(file).read_bytes()).hexdigest()
        assert InstalledCode().recorded_digest(file) == hexadecimal(modules[file])


def test_installed_code_is_distinguished_from_other_code(tmp_path: Path) -> None:
    installed = InstalledCode()
    for module in ("json", "pydantic", "pipelines", "wire.identity", "decimal"):
        __import__(module)
        assert installed.contains(canonical(str(sys.modules[module].__file__))), module
    assert not installed.contains(str(tmp_path / "json.py"))
    assert not installed.contains(canonical(__file__))
    site = Path(canonical(str(sys.modules["pydantic"].__file__))).parents[1]
    assert not installed.contains(str(site / "added_by_hand.py")), "no distribution has it"
