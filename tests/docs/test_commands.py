import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import typer.main
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandError
from django.urls import Resolver404, resolve

from coordinator.cli import WORDS
from coordinator.command_line.app import tree
from coordinator.run import command_of
from coordinator.settings import env
from embedded import dev
from embedded.product import BIN, PROJECT
from pipelines.cli import main as run_pipelines
from tests.docs import commands
from tests.docs.commands import Command, text_of

OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
GROUPS = {("coordinator", "run"), ("pipelines", "env")}
SHOWN = commands.fenced()
OTHER_VARIABLES = {"PIP_FIND_LINKS", "COMPOSE_FILE", "COORDINATOR_HOST", "API", "AUTH"}
"""Variables of pip, Docker Compose, `deploy/compose.yaml` and the examples of requests."""
BASES = {
    "$API/": "/api/v1/tenants/acme/",
    "$COORDINATOR_URL/": "/",
    "$COORDINATOR_TENANT": "acme",
    "https://coordinator.example/": "/",
    "$DIGEST": f"sha256:{64 * '0'}",
}
IDENTIFIER = re.compile(r"\bID\b|\bREQUEST\b|\$EXECUTION_ID")


def test_a_test_starts_every_command_of_the_product() -> None:
    files = [path for path in (PROJECT / "tests").rglob("*.py") if path.parent.name != "docs"]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in files)
    shown = [command.words for command in SHOWN if command.words[0] in commands.PROGRAMS and len(command.words) > 1]
    names = {words[2 if words[:2] in GROUPS else 1] for words in shown}
    assert [name for name in sorted(names) if name.islower() and not re.search(rf"""["' ]{name}["' ]""", sources)] == []


def errors_of(command: Command, *, complete: bool) -> Iterator[str]:
    """Yield what is wrong with a command of the product. `complete` commands have all their arguments."""
    program, *words = command.words
    first = words[0] if words else "help"
    if program == "pipelines":
        unknown = command.options - options_of_pipelines(tuple(words[: 2 if first == "env" else 1]))
        yield from (f"no option {name}" for name in unknown)
    elif first in WORDS:
        yield from _errors_of_client(words, complete=complete)
    elif first == "dev":
        yield from failure(lambda: dev.parser().parse_args(words[1:]))
    elif first == "run":
        if complete or len(words) > 1:
            yield from failure(lambda: command_of(words[1:]))
    elif first == "help" or first.isupper():  # in capitals, it stands for any command
        return
    elif first not in get_commands():
        yield f"no command {first}"
    elif complete:
        parser = load_command_class(get_commands()[first], first).create_parser("coordinator", first)
        yield from failure(lambda: parser.parse_args(words[1:]))
    else:
        yield from (f"no option {name}" for name in command.options - options_of_management(first))


@cache
def client() -> Any:
    return typer.main.get_command(tree())


def _errors_of_client(words: Sequence[str], *, complete: bool) -> Iterator[str]:
    command = client()
    context = command.make_context("coordinator", [], resilient_parsing=True)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            yield f"no command {name}"
            return
        command = command.commands[name]
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
    known = {option for parameter in command.get_params(context) for option in parameter.opts}
    passed = {word.partition("=")[0] for word in rest if word.startswith("-")}
    yield from (f"no option {name}" for name in passed - known)
    if complete:
        required = [param for param in command.params if param.param_type_name == "argument" and param.required]
        if len([word for word in rest if not word.startswith("-")]) < len(required):
            yield "an argument is missing"


def failure(parse: Any) -> Iterator[str]:
    output = StringIO()
    with redirect_stderr(output):
        try:
            parse()
        except SystemExit:
            yield output.getvalue()
        except CommandError as error:
            yield str(error)


@cache
def options_of_pipelines(words: tuple[str, ...]) -> set[str]:
    output = StringIO()
    with redirect_stdout(output), pytest.raises(SystemExit) as ended:
        run_pipelines([*words, "--help"])
    assert ended.value.code == 0, words
    return set(OPTION.findall(output.getvalue()))


@cache
def options_of_management(name: str) -> set[str]:
    return set(
        OPTION.findall(load_command_class(get_commands()[name], name).create_parser("coordinator", name).format_help())
    )


@pytest.mark.parametrize("complete", [True, False], ids=["shown", "mentioned"])
def test_the_commands_of_the_product_have_their_arguments(complete: bool) -> None:
    listed = SHOWN if complete else commands.spans()
    wrong = [
        f"{command.where}: {command.text}: {error}"
        for command in listed
        if command.words[0] in commands.PROGRAMS
        for error in errors_of(command, complete=complete)
    ]
    assert wrong == []


def test_make_has_the_targets_and_variables() -> None:
    targets, makefile = commands.targets(), text_of("Makefile")
    measured = set()
    for command in [*commands.fenced(), *commands.spans()]:
        if command.words[0] != "make":
            continue
        _, target, *variables = command.words
        assert target in targets, command
        for name, _, value in (variable.partition("=") for variable in variables):
            assert f"$({name})" in makefile, command
            measured |= set(value.split()) if target == "bench" and name != "AGAINST" else set()
    assert measured
    shown = started(["python", "-m", "benchmarks", "--help"])
    assert {word for word in measured if not word.isdigit() and word not in shown} == set()


def test_every_variable_is_a_setting() -> None:
    declared = env.declared.keys() | {f"{name}_FILE" for name in env.declared}
    folders = [PROJECT / "pipelines", PROJECT / "coordinator_client"]
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")]
    names = re.findall(r"\b(?:PIPELINES|COORDINATOR)_[A-Z_]+\b", "\n".join(sources))
    known = declared | OTHER_VARIABLES | set(names)
    for command in SHOWN:
        exported = command.words[1:] if command.words[0] == "export" else ()
        assert {variable.partition("=")[0] for variable in (*command.variables, *exported)} <= known, command


def test_each_request_has_a_path_a_method_and_a_body_that_the_api_knows() -> None:
    requests = [command for command in commands.fenced() if command.words[0] == "curl"]
    assert requests
    for command in requests:
        words = list(command.words)
        [url] = [word for word in words if word.startswith(("$API", "$COORDINATOR_URL", "https://"))]
        for name, value in BASES.items():
            url = url.replace(name, value)
        path = IDENTIFIER.sub(str(UUID(int=1)), urlsplit(url).path)
        try:
            view: Any = resolve(path).func
        except Resolver404:
            pytest.fail(f"{command.where}: {path} is no path of the API")
        data = [words[index + 1] for index, word in enumerate(words) if word in {"-d", "--data", "--data-binary"}]
        method = words[words.index("-X") + 1] if "-X" in words else "POST" if data else "GET"
        handler = getattr(view, "cls", None) or view.view_class
        assert hasattr(handler, method.lower()), f"{command.where}: {method} {path}"
        assert all(body.startswith("@") or isinstance(json.loads(body), dict) for body in data)
    options = set.union(*(command.options for command in requests))
    shown = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=True).stdout
    single = {letter for option in options if not option.startswith("--") for letter in option[1:]}
    assert {f"-{letter}" for letter in single} <= set(OPTION.findall(shown))
    assert {option for option in options if option.startswith("--")} <= set(OPTION.findall(shown))


def test_files_and_units_of_other_programs_exist() -> None:
    for command in commands.fenced():
        for word in command.words[1:]:
            if re.match(r"deploy/(?!secrets/|coordinator-)", word):
                assert list(PROJECT.glob(word)), f"{command.where}: {word}"
            if command.words[0] == "systemctl" and word.startswith("coordinator"):
                assert (PROJECT / "deploy" / "systemd" / f"{word}.service").exists()
    containerfile = text_of("deploy/image/Containerfile")
    for command in commands.fenced():
        if "build" in command.words and "--target" in command.words:
            assert f" AS {command.words[command.words.index('--target') + 1]}\n" in containerfile


def started(program: list[str]) -> str:
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(program, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_program_starts_in_an_empty_environment(subtests: pytest.Subtests) -> None:
    modules = ("pipelines", "tests.mutants", "tests.parts.recovery.campaign")
    programs = [
        ["make", "help"],
        ["coordinator", "help"],
        ["coordinator", "--help"],
        ["coordinator", "run", "--help"],
        ["coordinator", "releases", "list", "--help"],
        ["pipelines", "worker", "--help"],
        *(["python", "-m", module, "--help"] for module in modules),
    ]
    for program in programs:
        with subtests.test(program=" ".join(program)):
            assert started(program)


def test_the_words_are_those_of_the_tree_and_of_no_management_command() -> None:
    words = set(typer.main.get_command(tree()).commands)  # type: ignore[attr-defined]  # it is a group
    assert words == {word for word in WORDS if not word.startswith("-")}
    assert not words & set(get_commands())
