"""The documents of the repository. Each is read once."""

from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "distributions/*/*.md")
    for path in ROOT.glob(pattern)
)


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
