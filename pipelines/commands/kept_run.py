"""Keeps the state of a local run in a folder, so that the same command continues it after a kill or a failure."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pipelines.errors import DefinitionError
from pipelines.local_run import Progress

_FILE: Final = "execution.json"
_ITEMS: Final = "items.jsonl"


@dataclass
class KeptRun:
    """An unfinished execution. ``answers`` has what was answered since ``progress``, by the number of the question.

    ``items`` are finished items of the step of ``progress``. They are lines of a separate file, so that a group
    writes no other again. Without a file, nothing is stored.
    """

    contract_version: str
    file: Path | None = None
    execution_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    progress: Progress | None = None
    answers: dict[str, Any] = field(default_factory=dict)
    items: dict[int, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | None, contract_version: str) -> Self:
        """Return the run in a folder, or a new one. Raises ``DefinitionError`` INVALID_CHECKPOINT."""
        file = None if folder is None else folder / _FILE
        if file is None or not file.exists():
            return cls(contract_version, file)
        try:
            document = json.loads(file.read_bytes())
            progress = Progress(**document.pop("progress"))
            kept = cls(**document, file=file, progress=progress)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DefinitionError("INVALID_CHECKPOINT", f"{file} cannot be read; delete it to start again") from error
        if kept.contract_version != contract_version:
            raise DefinitionError(
                "INVALID_CHECKPOINT",
                f"{file} is of a pipeline with other steps or types, so its execution cannot continue with this one; "
                "delete it to start again",
            )
        kept.items = _items_in(file.with_name(_ITEMS), progress.step_index)
        return kept

    def reached(self, progress: Progress) -> None:
        """Store from where the execution continues. Raises ``DefinitionError`` OUT_DIR_UNWRITABLE."""
        if progress != self.progress:
            if self.progress is None or progress.step_index != self.progress.step_index:
                self.items = {}
            self.progress, self.answers = progress, {}
            self._store()

    def answered(self, place: str, answer: Any) -> None:
        """Store an answer. Raises ``DefinitionError`` OUT_DIR_UNWRITABLE."""
        self.answers[place] = answer
        self._store()

    def finish_items(self, texts: dict[int, str]) -> None:
        """Store finished items. Raises ``DefinitionError`` OUT_DIR_UNWRITABLE."""
        self.items |= texts
        if self.file is None or self.progress is None:
            return
        line = json.dumps([self.progress.step_index, texts])
        try:
            with open(self.file.with_name(_ITEMS), "a", encoding="utf-8", opener=_private) as out:
                out.write("\n" + line)  # a line before may lack its end
        except OSError as error:
            raise DefinitionError("OUT_DIR_UNWRITABLE", f"cannot write {self.file}: {error.strerror}") from error

    def finished(self) -> None:
        """Remove the state, because the execution has ended."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
            self.file.with_name(_ITEMS).unlink(missing_ok=True)

    def _store(self) -> None:
        if self.file is None or self.progress is None:
            return
        from coordinator_client.profiles import write_private

        document = {
            "contract_version": self.contract_version,
            "execution_id": self.execution_id,
            "progress": asdict(self.progress),
            "answers": self.answers,
        }
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.file, json.dumps(document))  # it contains the author's data
        except OSError as error:
            raise DefinitionError("OUT_DIR_UNWRITABLE", f"cannot write {self.file}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _items_in(file: Path, step_index: int) -> dict[int, str]:
    """Return the items of a step in the lines of a file. A line that was not written to its end is ignored."""
    items: dict[int, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with suppress(ValueError):
            step, texts = json.loads(line)
            if step == step_index:
                items |= {int(index): text for index, text in texts.items()}
    return items
