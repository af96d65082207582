"""Errors of one kind are logged at a bounded rate; omitted ones are counted."""

import logging

import pytest

from wire.broker import log_limit
from wire.broker.log_limit import MOST, LogLimit


@pytest.fixture
def logged() -> tuple[logging.Logger, list[str]]:
    """A logger with the limit, and the messages that pass it."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Keep()
    handler.addFilter(LogLimit())
    logger = logging.Logger("limited")
    logger.addHandler(handler)
    return logger, messages


def fail(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except Exception:
        logger.exception("%s failed", type(error).__name__)


def test_errors_of_one_kind_are_limited_and_others_pass(logged: tuple[logging.Logger, list[str]]) -> None:
    logger, messages = logged
    for _ in range(100):
        fail(logger, ValueError())
    fail(logger, KeyError())
    logger.error("something else")
    assert messages == ["ValueError failed"] * MOST + ["KeyError failed", "something else"]


def test_warnings_always_pass(logged: tuple[logging.Logger, list[str]]) -> None:
    logger, messages = logged
    for number in range(100):
        logger.warning("%d", number)
    assert len(messages) == 100


def test_the_next_window_reports_how_many_were_omitted(
    logged: tuple[logging.Logger, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, messages = logged
    for _ in range(MOST + 7):
        fail(logger, ValueError())
    monkeypatch.setattr(log_limit, "SECONDS", 0.0)
    fail(logger, ValueError())
    assert messages[MOST:] == ["ValueError failed (7 more errors of this kind were not logged)"]
