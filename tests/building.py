"""Helpers without Django: building a release as its author would, and waiting for a condition."""

import atexit
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from embedded.product import PROJECT, Product
from tests.programs import output_of

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], *, seconds: float = 30, what: str = "it") -> T:
    """Call `probe` until it returns a true value, and return that value. Raise `AssertionError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def first_tenant(product: Product, slug: str, person: str, password: str, scopes: Iterable[str]) -> str:
    """Create a superuser and a tenant with the product's commands, and return a token with the scopes."""
    account = [f"--username={person}", f"--email={person}@example.org", "--noinput"]
    product.manage("createsuperuser", *account, DJANGO_SUPERUSER_PASSWORD=password)
    product.manage("create_tenant", slug, f"--member={person}")
    return product.manage("issue_token", slug, "ci", f"--user={person}", *(f"--scope={scope}" for scope in scopes))


def at_port(url: str, port: int, **parts: str) -> str:
    """Return the URL with this port of 127.0.0.1, and the other `parts`."""
    place = urlsplit(url)
    credentials, at, _ = place.netloc.rpartition("@")
    return urlunsplit(place._replace(netloc=f"{credentials}{at}127.0.0.1:{port}", **parts))


@dataclass(frozen=True)
class BuiltRelease:
    """A pipeline that was built and released with the author's command."""

    reference: str
    directory: Path
    descriptor: Path
    artifact: Path
    document: dict[str, Any]

    @property
    def pipeline_id(self) -> str:
        return str(self.document["pipelineId"])

    @property
    def version(self) -> str:
        return str(self.document["releaseVersion"])


def build(reference: str, directory: Path, out: Path, version: str) -> BuiltRelease:
    """Run `python -m pipelines release` in `directory`, as an author would, and copy the release's folder to `out`.

    If this process has already built the same files, copy the earlier result.
    """
    key = (reference, version, _digest(directory))
    if key not in _built:
        _built[key] = _build(reference, directory, version)
    shutil.copytree(_built[key], out, dirs_exist_ok=True)
    descriptor = out / "pipeline-release.json"
    [artifact] = out.glob("*.zip")
    return BuiltRelease(reference, directory, descriptor, artifact, json.loads(descriptor.read_text()))


def _digest(directory: Path) -> str:
    """Return a digest of the author's files."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    hashed = hashlib.sha256()
    for path in files:
        hashed.update(f"{path.relative_to(directory)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()


_built: dict[tuple[str, str, str], Path] = {}


def _build(reference: str, directory: Path, version: str) -> Path:
    out = Path(tempfile.mkdtemp(prefix="built-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    command = [sys.executable, "-m", "pipelines", "release", reference, f"--release-version={version}", f"--out={out}"]
    output_of(command, directory, {"PYTHONPATH": str(PROJECT)})
    return out / version
