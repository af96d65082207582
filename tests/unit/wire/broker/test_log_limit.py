"""Errors of one kind are logged at a bounded rate; omitted ones are counted."""

import logging

import pytest

from wire.broker import log_limit
from wire.broker.log_limit import MOST, LogLimit


def test_errors_of_one_kind_are_limited_and_the_next_window_reports_how_many_were_omitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: messages.append(record.getMessage()))
    handler.addFilter(LogLimit())
    logger = logging.Logger("limited")
    logger.addHandler(handler)

    def fail(error: Exception) -> None:
        try:
            raise error
        except Exception:
            logger.exception("%s failed", type(error).__name__)

    for _ in range(MOST + 7):
        fail(ValueError())
        logger.warning("a warning")
    fail(KeyError())
    assert [each for each in messages if each != "a warning"] == ["ValueError failed"] * MOST + ["KeyError failed"]
    assert messages.count("a warning") == MOST + 7
    monkeypatch.setattr(log_limit, "SECONDS", 0.0)
    fail(ValueError())
    assert messages[-1] == "ValueError failed (7 more errors of this kind were not logged)"
