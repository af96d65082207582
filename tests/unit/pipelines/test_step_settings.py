from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError, Pipeline, StepContext, testing
from pipelines.authoring.compiler import declarations
from pipelines.authoring.step_settings import settings_of
from tests.cases import cases
from tests.raising import error_of
from wire import masks
from wire.documents.declarations import read, written
from wire.findings import DocumentError

GOOD = {"URL": "http://erp", "LIMIT": "10", "RATE": "0.5", "DRY": "true", "TOKEN": "s3cret-token"}


@dataclass
class Order:
    text: str


pipeline = Pipeline("p", config={"URL": str, "LIMIT": int, "RATE": float, "DRY": bool}, secrets=["TOKEN"])
restarted = Pipeline("p")


@pipeline.step
def show(order: Order, context: StepContext) -> Order:
    values = [context.config[name] for name in ("URL", "LIMIT", "RATE", "DRY")]
    return Order(repr([*values, context.secret("TOKEN")]))


@restarted.step
def work(order: Order, context: StepContext) -> Order:
    if context.attempt == 0:
        context.heartbeat(["half"])
        raise ValueError
    return Order(str(context.last_heartbeat))


def test_values_have_their_declared_types_and_come_from_the_environment_and_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert testing.run(pipeline, Order("")).value == Order("['http://erp', 10, 0.5, True, 's3cret-token']")
    given = testing.run(pipeline, Order(""), config={"LIMIT": 5, "DRY": False}, secrets={"TOKEN": "other-token"})
    assert given.value == Order("['http://erp', 5, 0.5, False, 'other-token']")
    (tmp_path / "TOKEN").write_text("of-a-file\n")
    settings = settings_of(pipeline, folder=tmp_path)
    assert settings is not None
    assert settings.secrets == {"TOKEN": "of-a-file"}
    assert "of-a-file" not in repr(settings)
    assert masks.masked("of-a-file other-token") == "[secret] [secret]"
    assert settings_of(Pipeline("p")) is None


@cases(
    ("changes", "problems"),
    [
        (dict.fromkeys(GOOD), ["URL is missing (text)", "LIMIT is missing (integer)", "the secret TOKEN is missing"]),
        ({"LIMIT": "ten"}, ["LIMIT is not of its type (integer)"]),
        ({"DRY": "maybe", "RATE": ""}, ["DRY is not of its type (boolean)", "RATE is missing (number)"]),
        ({"TOKEN": "abc"}, ["the secret TOKEN has fewer than 4 characters"]),
    ],
)
def test_everything_that_is_missing_is_named_at_once_and_no_value_is_shown(
    changes: dict[str, str | None], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**GOOD, **changes}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    error = error_of(DefinitionError, settings_of, pipeline)
    assert error.code == "CONFIG_MISSING"
    assert all(problem in str(error) for problem in problems)
    assert not any(value in str(error) for value in changes.values() if value)


@cases(
    ("options", "text"),
    [
        ({"config": ["URL"]}, "config is ['URL']"),
        ({"secrets": "TOKEN"}, "secrets are 'TOKEN'"),
        ({"config": {"a-b": str}}, "'a-b' is not the name of an environment variable"),
        ({"config": {"URL": list}}, "'URL' is of none of the types"),
        ({"config": {"URL": str}, "secrets": ["URL"]}, "have a name twice"),
        ({"secrets": [f"S{number}" for number in range(101)]}, "more than 100 names"),
    ],
)
def test_a_declaration_that_is_wrong_says_what_to_write(options: dict[str, Any], text: str) -> None:
    error = error_of(DefinitionError, Pipeline, "p", **options)
    assert error.code == "INVALID_CONFIG"
    assert text in str(error)


def test_an_artifact_declares_names_and_types_and_a_coordinator_refuses_others() -> None:
    document = written(declarations(pipeline))
    declared = read(document.encode())
    assert declared["config"] == {"URL": "text", "LIMIT": "integer", "RATE": "number", "DRY": "boolean"}
    assert declared["secrets"] == {"TOKEN": "text"}
    for wrong in ('{"config": {"URL": "list"}}', '{"secrets": {"a b": "text"}}', '{"secrets": {"A": "s3cret"}}'):
        with pytest.raises(DocumentError):
            read(wrong.encode())


def test_a_secret_that_is_not_declared_and_reports_that_cannot_be_shown_are_refused() -> None:
    context = testing.context(secrets={"TOKEN": "s3cret"}, last_heartbeat={"row": 7})
    assert (context.secret("TOKEN"), context.last_heartbeat, dict(context.config)) == ("s3cret", {"row": 7}, {})
    with pytest.raises(KeyError, match="OTHER is not declared"):
        context.secret("OTHER")
    for done, total in ((-1, None), (1, -1), (2**53, None)):
        with pytest.raises(ValueError, match="progress"):
            context.progress(done, total)
    with pytest.raises(TypeError, match="progress"):
        context.progress(1.5)  # type: ignore[arg-type]
    for details in ("x" * 1_000, "a s3cret-token".replace(" ", "\x00"), float("nan")):
        with pytest.raises(ValueError):  # noqa: PT011 - the text of the last one is Python's
            context.heartbeat(details)


def test_a_local_run_hands_the_last_heartbeat_to_the_next_attempt() -> None:
    assert testing.run(restarted, Order(""), retries=1).value == Order("['half']")
