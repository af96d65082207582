import json
import logging
from typing import Any

import pytest

from tests.cases import cases
from wire import log_lines
from wire.log_lines import FORMS, MOST, Form, LineFormatter, LogLimit

HOSTILE = 'a\nb\r\x1b[31m\x00"} \u2028 \ud800 é 🐍 {"level": "INFO"}'


def record(message: str = "said %s", *arguments: Any, error: BaseException | None = None, **extra: Any) -> Any:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("an.own.logger", logging.WARNING, __file__, 1, message, arguments, exc_info)
    made.__dict__.update(extra)
    return made


def line(form: Form, *arguments: Any, **options: Any) -> str:
    return LineFormatter(form).format(record(*arguments, **options))


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@cases("form", FORMS)
def test_an_event_is_one_line_of_ascii(form: Form) -> None:
    text = line(form, "%s", HOSTILE, execution=HOSTILE)
    assert text.isascii()
    assert text.isprintable()


@cases("form", FORMS)
def test_an_exception_shows_its_class_and_frames_and_those_of_its_causes(form: Form) -> None:
    error = raised(ValueError("secret-4711"), raised(KeyError("secret-4712")))
    text = line(form, "failed", error=error)
    assert "secret" not in text
    shown = json.loads(line("json", "failed", error=error))["exception"]
    assert (shown["class"], shown["cause"]["class"]) == ("ValueError", "KeyError")
    assert [frame.rpartition(" in ")[2] for frame in shown["frames"]] == ["raised"]


def test_a_failed_task_shows_no_text_of_its_exception() -> None:
    values = {"name": "executions.record", "description": "raised unexpected", "exc": "ValueError('secret-4711')"}
    failed = record("Task %(name)s %(description)s: %(exc)s", values, error=raised(ValueError("secret-4711")))
    failed.name, failed.args = "celery.app.trace", values
    shown = json.loads(LineFormatter("json").format(failed))
    assert shown["event"] == "Task executions.record raised unexpected"
    assert "secret" not in str(shown)


def test_errors_of_one_kind_are_limited_and_the_omitted_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = LogLimit()

    def passed(text: str, place: int, level: int = logging.ERROR) -> str:
        made = logging.LogRecord("x", level, "file", place, text, (), None)
        return made.getMessage() if limit.filter(made) else ""

    def passes_from(frame: str) -> bool:
        made = logging.LogRecord("x", logging.ERROR, "file", 3, "failed", (), None)
        made.errorClass, made.frames = "ValueError", (frame,)
        return limit.filter(made)

    assert [passes_from(frame) for frame in ("a", *["b"] * (MOST + 1))] == [*[True] * (MOST + 1), False]
    assert [passed("failed", 1) for _ in range(MOST + 2)] == ["failed"] * MOST + [""] * 2
    assert [passed("other", 2), passed("warned", 1, logging.WARNING)] == ["other", "warned"]
    monkeypatch.setattr(log_lines, "SECONDS", 0.0)
    assert passed("failed", 1) == "failed (2 more errors of this kind were not logged)"
