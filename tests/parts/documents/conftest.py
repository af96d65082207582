import sys
from pathlib import Path

import pytest

from tests.browsing import browser
from tests.programs import output_of

__all__ = ["browser"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it. A warning, such as a dead link, fails the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={folder}"]
    output_of(command, env={"NO_MKDOCS_2_WARNING": "1"})
    return folder
