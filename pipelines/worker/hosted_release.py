"""Loads the code that a worker hosts, and checks that it is the code of the release."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.authoring.compiler import compile_contract, load
from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.reference import find
from pipelines.environment import (
    Environment,
    Required,
    shadowed_modules,
    top_level_modules,
)
from pipelines.errors import DefinitionError, raise_all
from pipelines.failures import Failed, message_of
from pipelines.release.files import read_descriptor
from pipelines.release.packaging import artifact_digest
from pipelines.worker.artifact import UnpackedArtifact, artifacts_with_code, unpack_release
from pipelines.worker.run_results import RunResult
from pipelines.worker.runner import run
from wire.documents.descriptor import Descriptor
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import MOST_DIFFERENCES, CodeOrigin, WorkerEnvironment
from wire.traceparent import trace_id

if TYPE_CHECKING:
    from pipelines.authoring.step_settings import StepSettings
    from pipelines.step_reports import Reporting
    from pipelines.worker.allowed_code import AllowedCode
    from wire.messages.celery_messages import Command
    from wire.messages.rest_messages import TransitionCommand


FOREIGN_MODULE: Final = "FOREIGN_MODULE"
FROM_FOLDER: Final = "from a folder"
"""The reported version of durable-pipelines if its code is that of a checkout, which has none."""
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
    from pipelines.worker.allowed_code import AllowedCode  # workers that host source do not need it

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
    if stored and digest not in stored:  # it may be of a build before artifacts described the fields of questions
        earlier = artifact_digest(pipeline, lock, contract, described=False)
        digest = earlier if earlier in stored else digest
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
    from pipelines.worker.allowed_code import ForeignModule  # workers that host source do not need it

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
        durable_pipelines=(environment.own.version if environment.own else FROM_FOLDER)[:100],
        differences=[difference[:300] for difference in differences[:MOST_DIFFERENCES]],
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
    contract = next(
        (candidate for candidate in compiled if candidate["contractVersion"] == descriptor.contract_version), None
    )
    if contract is None:
        raise DefinitionError(
            "CONTRACT_MISMATCH",
            f"{reference} compiles to contract {compiled[0]['contractVersion']}, but the release pins "
            f"{descriptor.contract_version}; host the code of that release, or build and release this code",
        )
    return contract


def _identity(tenant: str, descriptor: Descriptor) -> ReleaseIdentity:
    return ReleaseIdentity(tenant, descriptor.pipeline_id, descriptor.contract_version, descriptor.release_version)
