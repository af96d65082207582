"""Shows on a terminal that work is in progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coordinator.command_line.text import clean


@contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Show a text with a spinner on stderr. Yields a function that replaces the text. Elsewhere, show nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, markup=False, highlight=False, emoji=False).status(Text(text)) as status:
        yield lambda said: status.update(Text(clean(said)))
