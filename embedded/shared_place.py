"""Folders that the account of a server can access, although root started it from a folder that only root can access."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from embedded.children import Account


def reachable(path: Path, account: Account) -> bool:
    """True if the account can read `path` and enter all its parent folders."""
    resolved = path.resolve()
    return all(_allowed(part, account) for part in [*resolved.parents, resolved] if part.exists())


def _allowed(path: Path, account: Account) -> bool:
    state = path.stat()
    needed = 0o5 if stat.S_ISDIR(state.st_mode) else 0o4
    shift = 6 if state.st_uid == account.uid else 3 if state.st_gid == account.gid else 0
    return (state.st_mode >> shift) & needed == needed


def shared_root() -> Path:
    """Return the product's folder in /var/tmp, which belongs to root and which all users can enter.

    Raises `PermissionError` if a folder of another user has that name.
    """
    # All users can create files in /var/tmp, so the owner of this folder is checked below.
    root = Path("/var/tmp/durable-coordinator-root")  # noqa: S108  # nosec B108
    root.mkdir(mode=0o755, exist_ok=True)
    state = root.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != 0 or state.st_mode & 0o022:
        raise PermissionError(f"{root} must be a folder that only root can write")
    root.chmod(0o755)
    return root


def place_for(folder: Path, account: Account) -> Path:
    """Return a folder of the account: `folder`, or the target of `folder` if the account cannot access its parent.

    Later calls return the same folder for as long as it exists.
    """
    if not folder.exists():
        if reachable(folder.parent, account):
            folder.mkdir(mode=0o700)
        else:
            place = Path(tempfile.mkdtemp(prefix="data-", dir=shared_root()))
            folder.unlink(missing_ok=True)  # a link whose target no longer exists
            folder.symlink_to(place)
    os.chown(folder, account.uid, account.gid)
    return folder.resolve()


def remove_place(folder: Path) -> None:
    """Remove a folder and its content, and for a result of `place_for` also the target."""
    shutil.rmtree(folder.resolve(), ignore_errors=True)
    folder.unlink(missing_ok=True)


def shared_copy(parts: Mapping[str, Path], name: str) -> Path:
    """Copy the folders `parts`, by their relative target paths, to a folder that all users can read, and return it.

    There is one copy per `name`. A copy is complete before it gets its name, so several processes can call this at the
    same time. A copy is replaced if files are missing, for example because they were removed as old temporary files.
    """
    root = shared_root()
    place = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(parts, place):
            shutil.rmtree(place, ignore_errors=True)
            fresh = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=root))
            for target, source in parts.items():
                shutil.copytree(source, fresh / target, copy_function=_copy_readable)
            for folder, _, _ in os.walk(fresh):
                Path(folder).chmod(0o755)
            fresh.rename(place)
    return place


def _copy_readable(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    executable = Path(source).stat().st_mode & 0o100
    Path(target).chmod(0o755 if executable else 0o644)


def _complete(parts: Mapping[str, Path], place: Path) -> bool:
    return all(_names(source) <= _names(place / target) for target, source in parts.items())


def _names(folder: Path) -> set[str]:
    return {f"{path[len(str(folder)) :]}/{name}" for path, _, names in os.walk(folder) for name in names}
