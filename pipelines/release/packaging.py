"""Packs a pipeline into a reproducible artifact.

The same source, lock, interpreter and platform give the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.authoring.compiler import compile_contract, contract_text, declarations, reference_of
from pipelines.authoring.definition import Pipeline
from pipelines.authoring.plan import plan
from pipelines.authoring.reference import find
from pipelines.environment import Environment
from pipelines.errors import DefinitionError, raise_all
from pipelines.release.local_imports import require_complete
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, DECLARATIONS_ENTRY, LOCK_ENTRY, PYTHON_ENTRY
from wire.documents.descriptor import CHECKPOINTS

_TIMESTAMP: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644
_UNIX: Final = 3


@dataclass(frozen=True, slots=True)
class BuiltArtifact:
    """A written artifact. ``digest`` is ``sha256:`` and lower-case hex; ``size`` is in bytes.

    ``sources`` are the files that were packed, as absolute paths.
    """

    path: Path
    digest: str
    size: int
    contract: dict[str, Any]
    sources: tuple[Path, ...]


def build(pipeline: Pipeline | str, out_dir: Path, *, lock: str | None = None) -> BuiltArtifact:
    """Write the artifact ``<pipelineId>.zip`` into ``out_dir``, completely or not at all.

    ``out_dir`` is created if it is missing. ``pipeline`` is a pipeline or what ``find`` takes. ``lock`` is the
    text of the ``requirements.lock`` to pack; by default it locks the distributions that are installed here.

    Raises ``DefinitionError``: those of ``find`` and ``compile_contract``, INVALID_DEFAULT, PACKAGE_NOT_FOUND,
    STEP_NOT_PACKED, MODULE_NOT_PACKED, MODULE_SHADOWED, MODULE_FAILED, SOURCE_UNREADABLE, OUT_DIR_PACKED,
    OUT_DIR_UNWRITABLE.
    """
    before = set(sys.modules)
    loaded = find(pipeline) if isinstance(pipeline, str) else pipeline
    imported = set(sys.modules) - before
    contract = compile_contract(loaded)
    raise_all(plan(loaded).catalogue.doubts)
    sources = _sources(loaded)
    require_complete(loaded, sources, imported)
    target = (out_dir / f"{loaded.pipeline_id}.zip").resolve()
    if any(root.is_dir() and target.is_relative_to(root.resolve()) for root in _roots(loaded).values()):
        raise DefinitionError(
            "OUT_DIR_PACKED",
            f"{out_dir} is inside a package that is packed, so the artifact would pack itself; choose another --out",
        )
    data = _archive(sources, _documents(loaded, contract, lock))
    write_atomically(target, data)
    return BuiltArtifact(out_dir / target.name, _digest(data), len(data), contract, tuple(sources.values()))


def artifact_digest(
    pipeline: Pipeline,
    lock: str | None = None,
    contract: dict[str, Any] | None = None,
    *,
    described: bool = True,
) -> str:
    """Return the digest that ``build`` would return for the source on disk and this lock, without writing a file.

    ``contract`` is that of the code, and by default compiled. ``described`` is that of ``declarations``. Does not check
    that the artifact is complete. Raises ``DefinitionError``: those of ``compile_contract``, PACKAGE_NOT_FOUND,
    SOURCE_UNREADABLE.
    """
    return _digest(
        _archive(_sources(pipeline), _documents(pipeline, contract or compile_contract(pipeline), lock, described))
    )


def write_atomically(target: Path, data: bytes) -> None:
    """Write ``data`` to ``target``, completely or not at all. Raises ``DefinitionError`` OUT_DIR_UNWRITABLE."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(data)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise DefinitionError("OUT_DIR_UNWRITABLE", f"cannot write {target}: {error.strerror}") from error


def _documents(
    pipeline: Pipeline, contract: dict[str, Any], lock: str | None, described: bool = True
) -> dict[str, str]:
    """Return the entries that are not source: the contract, and what a worker needs to host the code."""
    required = Environment.current().required
    python = {"pipeline": reference_of(pipeline), **required.interpreter.as_json()}
    documents = {
        CONTRACT_ENTRY: contract_text(contract),
        PYTHON_ENTRY: json.dumps(python, indent=2) + "\n",
        LOCK_ENTRY: required.lock if lock is None else lock,
    }
    if pipeline.checkpoint:
        documents[CAPABILITIES_ENTRY] = json.dumps([CHECKPOINTS]) + "\n"
    if declared := _declarations(pipeline, described):
        documents[DECLARATIONS_ENTRY] = declared
    return documents


def _declarations(pipeline: Pipeline, described: bool) -> str:
    declared = declarations(pipeline, described=described)
    if not declared:
        return ""
    from wire.documents.declarations import written  # most pipelines, and so most workers, declare nothing

    return written(declared)


def _archive(sources: dict[str, Path], documents: dict[str, str]) -> bytes:
    """Return a zip file without compression, because other versions of zlib give other bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted([*sources, *documents]):
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.create_system = _UNIX
            entry.external_attr = _MODE << 16
            archive.writestr(entry, documents[name].encode() if name in documents else _read(sources[name]))
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DefinitionError("SOURCE_UNREADABLE", f"cannot read {path}: {error.strerror}") from error


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _sources(pipeline: Pipeline) -> dict[str, Path]:
    """Return the files to pack, by entry name: of the pipeline's own package and the packages that it names."""
    files: dict[str, Path] = {}
    for name, root in _roots(pipeline).items():
        if root.is_dir():
            files.update({_entry(name.split("."), path.relative_to(root)): path for path in _files(root)})
        else:
            files[_entry(name.split(".")[:-1], Path(root.name))] = root
        files.update(_parent_inits(name, root))
    return files


def _roots(pipeline: Pipeline) -> dict[str, Path]:
    """Return the folder of each package, or the file of each module, by its import name."""
    module = sys.modules[pipeline.module]
    if module.__file__ is None:
        raise DefinitionError("PACKAGE_NOT_FOUND", f"{pipeline.module} has no source file; it cannot be packed")
    file = Path(module.__file__)
    if file.name == "__init__.py":
        roots = {pipeline.module: file.parent}
    elif "." in pipeline.module:
        roots = {pipeline.module.rpartition(".")[0]: file.parent}
    else:
        roots = {pipeline.module: file}
    for name in pipeline.packages:
        roots[name] = _located(name)
    for name, root in roots.items():
        if not root.exists():
            raise DefinitionError("PACKAGE_NOT_FOUND", f"{name} has no source on disk at {root}; it cannot be packed")
    return {name: root.absolute() for name, root in roots.items()}


def _located(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if folders:
        return Path(folders[0])
    if spec is None or not spec.has_location or spec.origin is None:
        raise DefinitionError(
            "PACKAGE_NOT_FOUND", f"packages names {name!r}, which cannot be found as Python source; check the name"
        )
    return Path(spec.origin)


def _files(root: Path) -> Iterator[Path]:
    """Yield the files of a package, also those in linked folders, which Python imports as well.

    Raises ``DefinitionError`` SOURCE_UNREADABLE for a link to a folder that contains it.
    """
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for link in (Path(folder, name) for name in folders if Path(folder, name).is_symlink()):
            if Path(folder).resolve().is_relative_to(link.resolve()):
                raise DefinitionError(
                    "SOURCE_UNREADABLE", f"cannot pack {link}: it is a link to a folder that contains it"
                )
        for name in names:
            path = Path(folder, name)
            is_packed = path.is_file() or not path.exists()  # a link to nothing, which cannot be read
            if not name.startswith(".") and path.suffix != ".pyc" and is_packed:
                yield path


def _parent_inits(name: str, root: Path) -> dict[str, Path]:
    """Return the ``__init__.py`` of the parent packages, without which a package would import differently."""
    parents = {}
    parts = name.split(".")[:-1]
    folder = root.parent
    while parts:
        init = folder / "__init__.py"
        if init.is_file():
            parents[_entry(parts, Path(init.name))] = init
        parts, folder = parts[:-1], folder.parent
    return parents


def _entry(package: list[str], path: Path) -> str:
    return "/".join([*package, *path.parts])
