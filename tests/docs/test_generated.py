import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs import generate
from tests.docs.commands import ROOT, text_of


def test_each_generated_page_is_up_to_date(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """In a process of its own, in which no test has defined an error or a metric."""
    command = [sys.executable, "-m", "docs.generate", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, check=True, timeout=120)
    for page in generate.PAGES:
        with subtests.test(page):
            written = (tmp_path / page).read_text(encoding="utf-8")
            assert text_of(page) == written, "run python -m docs.generate"
