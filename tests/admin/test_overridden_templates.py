"""Templates that override those of unfold fit its version: compare them when one of its templates changes."""

import hashlib
from pathlib import Path

import unfold

from embedded.product import PROJECT

ORIGINALS = Path(unfold.__file__).parent / "templates"
OURS = PROJECT / "templates"
KNOWN = "e6e749117ff3b8563e9e5450f6dd3f7465f654b95d92cc9ff9bd2fc94d9da778"
"""The digest of the templates of unfold that ours were written for."""


def test_the_overridden_templates_of_unfold_are_those_that_ours_were_written_for() -> None:
    originals = [ORIGINALS / path.relative_to(OURS) for path in sorted(OURS.rglob("*.html"))]
    found = b"".join(path.read_bytes() for path in originals if path.exists())
    assert hashlib.sha256(found).hexdigest() == KNOWN
