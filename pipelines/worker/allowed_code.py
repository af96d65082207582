"""Keeps code out of a worker that is neither in its artifact nor installed."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from types import CodeType
from typing import Any, Final

from pipelines.environment import InstalledCode, canonical, site_folders
from pipelines.errors import DefinitionError


class ForeignModule(ImportError):
    """The artifact, the standard library and the installed distributions do not contain the imported module."""


_IMPORTING: Final = ("<frozen importlib", "<frozen runpy", "<frozen zipimport")
_transition: Final[ContextVar[int]] = ContextVar("transition", default=0)
"""The number of the transition for which code runs, in its threads and in tasks that it starts. 0 means unknown."""
_numbers: Final = itertools.count(1)
_restriction: Final = threading.Lock()
"""Acquired permanently by the process's only restriction."""


class AllowedCode:
    """Decides which files may run as modules. Safe to use from many threads.

    Python reports every file whose code is about to run as a module to an audit hook (PEP 578), in every kind of
    import: an import statement, `importlib`, a finder of the author, `runpy`, or `exec` of a compiled file. Such a hook
    cannot be removed. Code that a pipeline or a library generates is not restricted, even if it bears the name of a
    file: Jinja2 compiles Python code from a template, under the template's name.

    A file must be in the artifact, in the standard library or in an installed distribution, with the digest that the
    artifact or the distribution has for it. So a file that was changed after its installation is foreign.
    """

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        """``files`` are the artifact's files in ``folder``: the SHA-256 digests by absolute path."""
        self.foreign = ""
        """A description of the first foreign module; empty if there was none."""
        self._folder = folder
        self._files = files
        self._blamed: dict[int, bool] = {}  # by the number of each running transition
        self._lock = threading.Lock()
        self._installed = InstalledCode()

    def restrict(self) -> None:
        """Restrict this process, permanently: its path, its working folder, and what it may import.

        Raises ``ForeignModule`` if it has imported a foreign module already, for example from PYTHONPATH, and
        ``DefinitionError`` ARTIFACT_ALREADY_HOSTED if the process is already restricted.
        """
        if not _restriction.acquire(blocking=False):
            raise DefinitionError("ARTIFACT_ALREADY_HOSTED", "this process hosts an artifact; start another process")
        library = [
            folder for folder in sys.path if folder and self._installed.is_trusted(os.path.realpath(folder) + os.sep)
        ]
        sys.path[:] = [str(self._folder), *library, *site_folders()]
        sys.dont_write_bytecode = True
        os.chdir(self._folder)
        for module in list(sys.modules.values()):
            spec = getattr(module, "__spec__", None)
            if spec is not None and spec.has_location and spec.origin:
                self.require(spec.origin)
        sys.addaudithook(self._audit)

    def require(self, file: str, executed: CodeType | None = None) -> None:
        """Raise ``ForeignModule`` unless the code of this file may run.

        ``executed`` is code that bears the file's name without being imported. It may run if it was generated.
        """
        path = canonical(file)
        if not self._is_allowed(path) and (executed is None or _is_of(path, executed)):
            text = (
                f"{_module_of(file)} in {path} is neither in the artifact nor in an installed distribution as installed"
            )
            self._blame(text)
            raise ForeignModule(text, path=path)

    def require_none_foreign(self) -> None:
        """Raise ``DefinitionError`` FOREIGN_MODULE if there was a foreign module."""
        if self.foreign:
            raise DefinitionError("FOREIGN_MODULE", f"{self.foreign}; pack it, or install it, and release that")

    def begin_transition(self) -> None:
        """Watch a transition in this thread until `end_transition`.

        An import in a thread that runs no transition counts for all transitions that run at that time, because any of
        them may have started the thread. An import of a transition that has ended counts for none: an abandoned thread
        may still run it.
        """
        number = next(_numbers)
        _transition.set(number)
        self._blamed[number] = False

    def end_transition(self) -> bool:
        """Return True if the transition of this thread tried to import a foreign module."""
        number = _transition.get()
        _transition.set(0)
        with self._lock:
            return self._blamed.pop(number)

    def _blame(self, text: str) -> None:
        number = _transition.get()
        with self._lock:
            self.foreign = self.foreign or text
            for listener in list(self._blamed):
                self._blamed[listener] = self._blamed[listener] or number in (0, listener)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        executed = None
        if event == "exec":
            file = getattr(arguments[0], "co_filename", "<text>")
            if not sys._getframe(1).f_code.co_filename.startswith(_IMPORTING):  # the caller of exec
                executed = arguments[0]
        elif event == "import":
            file = arguments[1]  # only an extension module has one here
        elif event == "open" and _is_lone_bytecode(arguments[0]):
            file = arguments[0]  # such code names its source itself, and may name any
        else:
            return
        if file and not file.startswith("<"):
            self.require(file, executed)

    def _is_allowed(self, path: str) -> bool:
        if self._installed.is_trusted(path):
            return True
        digest = self._files.get(path) or self._installed.recorded_digest(path)
        try:
            return digest is not None and hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
        except OSError:
            return False


def _is_of(path: str, code: CodeType) -> bool:
    """Return True if this is the code of the file, and not code that was generated under its name."""
    try:
        return compile(Path(path).read_bytes(), path, "exec", dont_inherit=True) == code
    except (OSError, SyntaxError, ValueError):
        return False


def _is_lone_bytecode(file: object) -> bool:
    """Return True for compiled code that Python imports without its source."""
    return isinstance(file, str) and file.endswith(".pyc") and f"{os.sep}__pycache__{os.sep}" not in file


def _module_of(file: str) -> str:
    """Return the name of the module with this file; the file's name if it is not known yet."""
    for name, module in list(sys.modules.items()):
        if file in (getattr(module, "__file__", None), getattr(getattr(module, "__spec__", None), "origin", None)):
            return f"the module {name}"
    return f"the module {Path(file).stem}"
