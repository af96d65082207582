"""Files with public keys."""

from pathlib import Path
from typing import Final

from coordinator.command_line.errors import CommandError

LARGEST_KEY: Final = 10_000


def public_key(file: Path) -> str:
    """Return the PEM text in a file. Raises `CommandError`; also for a private key, which must not be sent."""
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(LARGEST_KEY)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read ({type(error).__name__})") from None
    if "PRIVATE" in text:
        raise CommandError(f"{file} contains a private key; give the public one")
    return text
