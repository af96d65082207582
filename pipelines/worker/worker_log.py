"""The log of a worker, which the author's code cannot reconfigure."""

from __future__ import annotations

import logging
from typing import Literal

from pipelines.step_reports import ReportedLines, is_authored
from wire.log_lines import Form, LineFormatter


class _KeptHandlers(list[logging.Handler]):
    """The handlers of the root logger. `logging.basicConfig(force=True)` and `dictConfig` do not remove the first."""

    def __init__(self, kept: tuple[logging.Handler, ...]) -> None:
        super().__init__(kept)
        self._kept = kept

    def remove(self, handler: logging.Handler, /) -> None:
        if handler not in self._kept:
            super().remove(handler)

    def clear(self) -> None:
        self[:] = self._kept


def configure_logs(form: Form | Literal["terminal"], level: str) -> None:
    """Log to stderr from `level` on, in lines of this form, unless this process has handlers of its root logger.

    Errors of logging are silent: a step may close stderr.
    """
    handler = logging.StreamHandler()
    if form == "terminal":
        from pipelines.worker.terminal_lines import TerminalFormatter, of_author

        handler.setFormatter(TerminalFormatter())
        handler.addFilter(of_author)
    else:
        handler.setFormatter(LineFormatter(form))
    if not logging.root.handlers:
        kept = (ReportedLines(), handler)  # a line is reported before it is written, which may take long
        for line in kept:
            line.setLevel(level)
        logging.root.handlers = _KeptHandlers(kept)
        logging.root.setLevel(level)
    logging.captureWarnings(True)
    logging.raiseExceptions = False


def enable_own_loggers() -> None:
    """Let the worker log again after the author's modules are loaded, because `dictConfig` disables other loggers."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and not is_authored(logger.name):
            logger.disabled = False
