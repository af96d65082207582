"""Folders that a server's account can reach, for when root starts it from a home that only root may enter."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from embedded.children import Account


def reachable(path: Path, account: Account) -> bool:
    """Whether the account may pass every folder down to `path` and read what lies there."""
    resolved = path.resolve()
    return all(_allowed(part, account) for part in [*resolved.parents, resolved] if part.exists())


def _allowed(path: Path, account: Account) -> bool:
    state = path.stat()
    needed = 0o5 if stat.S_ISDIR(state.st_mode) else 0o4
    shift = 6 if state.st_uid == account.uid else 3 if state.st_gid == account.gid else 0
    return (state.st_mode >> shift) & needed == needed


def shared_root() -> Path:
    """The folder of this product in /var/tmp that belongs to root and that everyone may pass.

    Raises `PermissionError` when someone else holds the name.
    """
    # A fixed name in a folder that everyone may write is safe only because its owner is checked below.
    root = Path("/var/tmp/durable-coordinator-root")  # noqa: S108  # nosec B108
    root.mkdir(mode=0o755, exist_ok=True)
    state = root.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != 0 or state.st_mode & 0o022:
        raise PermissionError(f"{root} must be a folder that only root may write")
    root.chmod(0o755)
    return root


def place_for(folder: Path, account: Account) -> Path:
    """A folder owned by the account: `folder` itself, or one it can reach and that `folder` links to.

    The same `folder` leads to the same place for as long as it exists.
    """
    if not folder.exists():
        if reachable(folder.parent, account):
            folder.mkdir(mode=0o700)
        else:
            place = Path(tempfile.mkdtemp(prefix="data-", dir=shared_root()))
            folder.unlink(missing_ok=True)  # a link that leads nowhere now
            folder.symlink_to(place)
    os.chown(folder, account.uid, account.gid)
    return folder.resolve()


def remove_place(folder: Path) -> None:
    """Remove what `place_for` gave, or an ordinary folder, with all that is in it."""
    shutil.rmtree(folder.resolve(), ignore_errors=True)
    folder.unlink(missing_ok=True)


def shared_copy(parts: Mapping[str, Path], name: str) -> Path:
    """Copy folders, each to its relative path in one readable place, once per `name`; returns the place.

    A copy appears whole or not at all, so any number of processes may ask at the same time. One that lost
    files since (a cleaner of old temporary files went through it) is replaced.
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
