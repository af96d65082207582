import importlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from pipelines import Pipeline, StepContext
from pipelines.authoring.compiler import load
from pipelines.release.packaging import BuiltArtifact, build

IMPORTS = """
import enum, functools, typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from pydantic import BaseModel, Field
from pipelines import Cardinality, Concurrency, NonRetryable, Pipeline, StepContext

pipeline = Pipeline("org.acme.orders")

@dataclass
class Order:
    number: int
    total: Decimal = Decimal("1.50")

@dataclass
class Receipt:
    number: int
    note: str = ""
"""
STEP = "@pipeline.step\ndef ship_it(order: Order) -> Receipt:\n    return Receipt(1)\n"


class Author:
    """Writes Python files and imports them again each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        return file

    def pipeline(self, body: str, *, module: str = "authored") -> Pipeline:
        """Return the pipeline of a module that begins with the imports above."""
        self.write(f"{module.replace('.', '/')}.py", IMPORTS + dedent(body))
        return self.load(f"{module}:pipeline")

    def load(self, reference: str) -> Pipeline:
        self.forget()
        return load(reference)

    def forget(self) -> None:
        importlib.invalidate_caches()
        for name in [name for name, module in list(sys.modules.items()) if self._is_own(module)]:
            del sys.modules[name]

    def _is_own(self, module: ModuleType) -> bool:
        origins = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        return any(str(origin).startswith(str(self.folder)) for origin in origins)


@contextmanager
def writing(folder: Path) -> Iterator[Author]:
    """Let an author write modules into the folder, from which they are imported during the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.syspath_prepend(str(folder))
        author = Author(folder)
        yield author
        author.forget()


@pytest.fixture
def author(tmp_path: Path) -> Iterator[Author]:
    (tmp_path / "source").mkdir()
    with writing(tmp_path / "source") as made:
        yield made


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> BuiltArtifact:
    with writing(tmp_path_factory.mktemp("built")) as author:
        return build(author.pipeline(STEP), author.folder / "dist")


@pytest.fixture
def built(built_once: BuiltArtifact, tmp_path: Path) -> BuiltArtifact:
    """The artifact of a pipeline with the step "Ship it", in the folder `dist`."""
    folder = tmp_path / "dist"
    folder.mkdir()
    return replace(built_once, path=Path(shutil.copy(built_once.path, folder)))


def change_descriptor(descriptor: Path, artifact: Mapping[str, Any] | None = None, **members: Any) -> None:
    """Change members of a descriptor, and of its first artifact."""
    document = json.loads(descriptor.read_bytes()) | members
    document["artifacts"][0] |= artifact or {}
    descriptor.write_text(json.dumps(document))


@pytest.fixture
def context() -> StepContext:
    return StepContext(
        tenant_id="acme", pipeline_id="org.acme.orders", contract_version="sha256:c", release_version="sha256:r",
        execution_id="e-1", attempt=2, transition_key="e-1:0:2",
    )  # fmt: skip
