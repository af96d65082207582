"""Loads the code that a worker hosts, checks that it is the code of the release, and keeps other code out."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from pipelines.authoring.compiler import compile_contract, load
from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.reference import find
from pipelines.environment import (
    Environment,
    InstalledCode,
    Required,
    canonical,
    shadowed_modules,
    site_folders,
    top_level_modules,
)
from pipelines.errors import DefinitionError, raise_all
from pipelines.failures import Failed, message_of
from pipelines.release.files import read_descriptor
from pipelines.release.packaging import artifact_digest
from pipelines.worker.artifact import UnpackedArtifact, artifacts_with_code, unpack_release
from pipelines.worker.runner import RunResult, run
from wire.documents.descriptor import Descriptor
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import MOST_DIFFERENCES, CodeOrigin, WorkerEnvironment
from wire.traceparent import trace_id

if TYPE_CHECKING:
    from pipelines.authoring.step_settings import StepSettings
    from pipelines.step_reports import Reporting
    from wire.messages.celery_messages import Command
    from wire.messages.rest_messages import TransitionCommand


class ForeignModule(ImportError):
    """The artifact, the standard library and the installed distributions do not contain the imported module."""


_IMPORTING: Final = ("<frozen importlib", "<frozen runpy", "<frozen zipimport")
_transition: Final[ContextVar[int]] = ContextVar("transition", default=0)
"""Identifies the transition for which code runs, in its thread and in tasks that it starts."""
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
        self._blamed: dict[int, bool] = {}  # by the thread of each running transition
        self._lock = threading.Lock()
        self._installed = InstalledCode()

    def restrict(self) -> None:
        """Restrict this process, permanently: its path, its working folder, and what it may import.

        Raises ``ForeignModule`` if it has imported a foreign module already, for example from PYTHONPATH, and
        ``DefinitionError`` ARTIFACT_ALREADY_HOSTED if the process is already restricted.
        """
        if not _restriction.acquire(blocking=False):
            raise DefinitionError("ARTIFACT_ALREADY_HOSTED", "this process hosts an artifact; start another process")
        library = [each for each in sys.path if each and self._installed.is_trusted(os.path.realpath(each) + os.sep)]
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
        them may have started the thread.
        """
        thread = threading.get_ident()
        _transition.set(thread)
        self._blamed[thread] = False

    def end_transition(self) -> bool:
        """Return True if the transition of this thread tried to import a foreign module."""
        _transition.set(0)
        return self._blamed.pop(threading.get_ident())

    def _blame(self, text: str) -> None:
        thread = _transition.get()
        with self._lock:
            self.foreign = self.foreign or text
            for each in [thread] if thread in self._blamed else list(self._blamed):
                self._blamed[each] = True

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


FOREIGN_MODULE: Final = "FOREIGN_MODULE"
SHOWN: Final = 5
"""How many differences of environments an error names."""


@dataclass(frozen=True)
class HostedRelease:
    """The code of one release. ``settings`` has the values of the config and the secrets that its pipeline declares.

    ``artifact_id`` and ``artifact_digest`` name the artifact from which the code was loaded, or with which it was
    compared. They are empty if the release pins container images only, because no code can be compared with these.
    ``code`` says where the code comes from. ``allowed`` decides which files may run; None if nothing restricts them.
    """

    pipeline: Pipeline
    identity: ReleaseIdentity
    artifact_id: str
    artifact_digest: str
    code: CodeOrigin = "source"
    environment: WorkerEnvironment | None = None
    allowed: AllowedCode | None = None
    settings: StepSettings | None = None

    @property
    def must_stop(self) -> bool:
        """True once a step has tried to import a foreign module: the worker cannot do what the release pins."""
        return self.allowed is not None and bool(self.allowed.foreign)

    def log_fields(self, command: Command | TransitionCommand, traceparent: str) -> dict[str, str | int]:
        """Return the fields of the log lines of a transition."""
        return {
            "tenant": self.identity.tenant_id,
            "pipeline": self.identity.pipeline_id,
            "release": self.identity.release_version,
            "execution": str(command.execution_id),
            "attempt": command.attempt,
            "traceId": trace_id(traceparent),
        }

    def span_attributes(self, command: Command | TransitionCommand) -> dict[str, str | int]:
        return {
            "pipelines.tenant": self.identity.tenant_id,
            "pipelines.pipeline": self.identity.pipeline_id,
            "pipelines.release": self.identity.release_version,
            "pipelines.execution": str(command.execution_id),
            "pipelines.step.index": command.current_step_index,
            "pipelines.attempt": command.attempt,
        }

    def context(
        self,
        command: Command | TransitionCommand,
        tenant_id: str,
        cancellation: Callable[[], bool],
        *,
        reporting: Reporting,
        heartbeats: str = "",
    ) -> StepContext:
        return StepContext(
            tenant_id=tenant_id,
            execution_id=str(command.execution_id),
            pipeline_id=self.identity.pipeline_id,
            contract_version=self.identity.contract_version,
            release_version=self.identity.release_version,
            attempt=command.attempt,
            transition_key=command.transition_key,
            cancellation=cancellation,
            reporting=reporting,
            heartbeats=heartbeats,
            settings=self.settings,
        )

    def run(self, payload: Any, **options: Any) -> RunResult:
        """Run steps as `runner.run` does, which documents the options.

        A transition that tries to import a foreign module fails without a retry, even if the step catches the
        exception: what it did without the module is not what the release pins. A transition that begins after that may
        be retried by another worker.
        """
        if self.allowed is None:
            return run(self.pipeline, payload, **options)
        if self.must_stop:
            return self._foreign(retryable=True)
        self.allowed.begin_transition()
        try:
            result = run(self.pipeline, payload, **options)
        finally:
            is_foreign = self.allowed.end_transition()
        return self._foreign(retryable=False) if is_foreign else result

    def _foreign(self, *, retryable: bool) -> Failed:
        text = self.allowed.foreign if self.allowed else ""
        return Failed(FOREIGN_MODULE, message_of("", text), retryable=retryable)

    def require_no_foreign_module(self) -> None:
        """Raise ``DefinitionError`` FOREIGN_MODULE if a step has tried to import a foreign module."""
        if self.allowed is not None:
            self.allowed.require_none_foreign()


def host_artifact(
    descriptor_path: Path, tenant: str, artifact: Path | None = None, *, allow_drift: bool = False
) -> HostedRelease:
    """Load the pipeline from the artifact of a release, and restrict this process to that artifact's code.

    ``artifact`` defaults to the file that the descriptor names, in the descriptor's folder. The release must pin the
    digest of its bytes. They are unpacked into a private folder, which becomes the working folder. A process can do
    this once. ``tenant`` is the slug of the worker's tenant. ``allow_drift`` accepts an environment that differs from
    the one that the artifact requires.

    Raises ``DefinitionError``: those of ``unpack_release`` and ``load``, ENVIRONMENT_DRIFT, MODULE_SHADOWED,
    ARTIFACT_ALREADY_HOSTED, FOREIGN_MODULE, PIPELINE_MISMATCH, CONTRACT_MISMATCH.
    """
    unpacked = unpack_release(descriptor_path, artifact)
    descriptor = unpacked.descriptor
    environment = _environment(unpacked.required, allow_drift=allow_drift)
    allowed = AllowedCode(unpacked.folder, unpacked.files)
    pipeline = _loaded(unpacked, allowed)
    _required_contract(pipeline, unpacked.pipeline, descriptor)
    pipeline.close()
    pinned = unpacked.pinned
    return HostedRelease(
        pipeline,
        _identity(tenant, descriptor),
        pinned.artifact_id,
        pinned.digest,
        code="artifact",
        environment=environment,
        allowed=allowed,
    )


def host_source(reference: str, descriptor_path: Path, tenant: str, *, lock: str | None = None) -> HostedRelease:
    """Load the pipeline that ``reference`` names, as ``find`` does, and check that it is that release.

    The code must compile to the release's contract. If the release pins artifacts by their bytes, the code must rebuild
    to exactly the bytes of one of them. This does not cover modules outside of the packed packages, so the worker
    reports its code as unverified. ``tenant`` is the slug of the worker's tenant. ``lock`` is the ``requirements.lock``
    with which the artifact was built; by default that of this environment.

    Raises ``DefinitionError``: those of ``find`` and ``compile_contract``, INVALID_RELEASE, PIPELINE_MISMATCH,
    CONTRACT_MISMATCH, ARTIFACT_MISMATCH.
    """
    descriptor = read_descriptor(descriptor_path)
    pipeline = find(reference)
    contract = _required_contract(pipeline, reference, descriptor)
    digest = artifact_digest(pipeline, lock, contract)
    stored = {artifact.digest: artifact.artifact_id for artifact in artifacts_with_code(descriptor)}
    if stored and digest not in stored:
        raise DefinitionError(
            "ARTIFACT_MISMATCH",
            f"{reference} builds to {digest}, but the release pins {', '.join(stored)}; "
            "host the code of that release, or build and release this code",
        )
    pipeline.close()
    # A release of images alone pins no artifact that this code can be compared with, so it names none.
    return HostedRelease(
        pipeline,
        _identity(tenant, descriptor),
        stored.get(digest, ""),
        digest if stored else "",
        code="source" if stored else "image",
        environment=_environment(Environment.current().required, allow_drift=True),
    )


def _loaded(unpacked: UnpackedArtifact, allowed: AllowedCode) -> Pipeline:
    """Load the pipeline. A foreign module is an error even if the author's code catches the exception."""
    try:
        allowed.restrict()
        entries = (os.path.relpath(file, unpacked.folder) for file in unpacked.files)
        raise_all(shadowed_modules(top_level_modules(entries), sys.modules))
        pipeline = load(unpacked.pipeline)
    except (ForeignModule, DefinitionError):
        if not allowed.foreign:
            raise
    allowed.require_none_foreign()
    return pipeline


def _environment(required: Required, *, allow_drift: bool) -> WorkerEnvironment:
    """Describe this environment. Raises ``DefinitionError`` ENVIRONMENT_DRIFT for a difference that is not allowed."""
    environment = Environment.current()
    differences = environment.differences(required)
    if differences and not allow_drift:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise DefinitionError(
            "ENVIRONMENT_DRIFT",
            f"this environment is not the one that the artifact requires: {'; '.join(differences[:SHOWN])}{more}; "
            "make a matching one with pipelines env sync, or pass --allow-environment-drift",
        )
    python = environment.interpreter
    return WorkerEnvironment(
        fingerprint=environment.fingerprint,
        python=f"{python.implementation} {python.version}"[:100],
        platform=python.platform[:100],
        differences=[each[:300] for each in differences[:MOST_DIFFERENCES]],
        difference_count=len(differences),
    )


def _required_contract(pipeline: Pipeline, reference: str, descriptor: Descriptor) -> dict[str, Any]:
    """Return the contract of the code. A release that an earlier version built has one without constraints."""
    if pipeline.pipeline_id != descriptor.pipeline_id:
        raise DefinitionError(
            "PIPELINE_MISMATCH",
            f"{reference} is pipeline {pipeline.pipeline_id}, but the release is of {descriptor.pipeline_id}",
        )
    compiled = [compile_contract(pipeline, constraints=constraints) for constraints in (True, False)]
    contract = next((each for each in compiled if each["contractVersion"] == descriptor.contract_version), None)
    if contract is None:
        raise DefinitionError(
            "CONTRACT_MISMATCH",
            f"{reference} compiles to contract {compiled[0]['contractVersion']}, but the release pins "
            f"{descriptor.contract_version}; host the code of that release, or build and release this code",
        )
    return contract


def _identity(tenant: str, descriptor: Descriptor) -> ReleaseIdentity:
    return ReleaseIdentity(tenant, descriptor.pipeline_id, descriptor.contract_version, descriptor.release_version)
