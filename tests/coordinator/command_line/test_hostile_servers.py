"""What a server sends is bounded and harmless on a terminal, the token stays private, and Django is not loaded."""

import json
from pathlib import Path

import pytest

from tests.cases import cases
from tests.command_line import CommandLine, imported
from tests.receiving import dripping, serving

ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"COORDINATOR_TENANT": "acme", "COORDINATOR_TOKEN": "the-token"})


def pipeline(name: str) -> dict[str, object]:
    return {"pipelineId": name, "activeReleaseVersion": None, "paused": {"reason": f"{ESCAPE}\n[bold]\ud800"}}


def test_texts_are_harmless(run: CommandLine) -> None:
    with serving({"items": [pipeline(f"a{ESCAPE}b")], "next": None}) as server:
        tables = [
            run("pipelines", "list", f"--url={server.origin}").out,
            run.on_a_terminal("pipelines", "list", f"--url={server.origin}", columns=300).out,
            run("pipelines", "list", f"--url={server.origin}", "--output=json").out,
        ]
    for shown in tables[:2]:
        assert r"a\x1b]0;owned\x07\x1b[2J\u202eb" in shown
        assert r"\u202e\x0a[bold]\ud800" in shown
    for shown in tables:
        assert not set(shown) & {"\x07", "\u202e", "\ud800"}
        assert "\x1b]" not in shown
        assert "\x1b[2J" not in shown
    assert json.loads(tables[2])[0]["pipelineId"] == f"a{ESCAPE}b"


def test_a_redirect_is_not_followed(run: CommandLine) -> None:
    with serving({}) as elsewhere, serving({}, status=302, headers={"Location": elsewhere.origin}) as server:
        done = run("pipelines", "show", "p", f"--url={server.origin}")
        assert (done.status, elsewhere.requests) == (6, [])
        assert f"redirects to {elsewhere.origin}" in done.err


def test_the_next_page_is_on_the_same_server(run: CommandLine) -> None:
    with serving({"items": [], "next": None}) as elsewhere:
        first = {"items": [pipeline("one")], "next": f"{elsewhere.origin}/api?cursor=abc&pageSize=9"}
        with serving(first, {"items": [pipeline("two")], "next": None}) as server:
            found = run.json("pipelines", "list", f"--url={server.origin}")
    assert [each["pipelineId"] for each in found] == ["one", "two"]
    assert elsewhere.requests == []
    assert [each.path.rpartition("?")[2] for each in server.requests] == ["pageSize=50", "pageSize=49&cursor=abc"]
    assert {each.headers["Authorization"] for each in server.requests} == {"Bearer the-token"}


def test_a_response_that_drips_is_cut_off_and_the_change_may_have_happened(run: CommandLine) -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nX: ") as host:
        done = run("executions", "cancel", "e", f"--url=http://{host}", "--request-seconds=1", "--yes")
    assert (done.status, "may have been carried out" in done.err) == (6, True)


def test_names_stay_within_their_segment(run: CommandLine) -> None:
    with serving({}) as server:
        assert run("pipelines", "show", "../../x?y#z", f"--url={server.origin}").status == 0
        assert run("pipelines", "show", "..", f"--url={server.origin}").status == 2
    assert [each.path for each in server.requests] == ["/api/v1/tenants/acme/pipelines/..%2F..%2Fx%3Fy%23z"]


@cases("command", ["--help", "executions list"])
def test_no_django_is_loaded(command: str) -> None:
    found = imported(*command.split(), *(["--url=http://127.0.0.1:1", "--tenant=t", "--token=x"] * ("list" in command)))
    assert {"typer", "coordinator"} <= found
    assert not found & {"django", "celery", "psycopg", "rest_framework", "boto3", "requests"}


def test_a_token_file_is_private(run: CommandLine) -> None:
    file = run.home / "token"
    file.write_text("secret-token\n")
    options = ["--url=http://127.0.0.1:1", "--tenant=t", f"--token-file={file}"]
    file.chmod(0o640)
    refused = run("pipelines", "list", *options)
    assert (refused.status, "chmod 600" in refused.err, "secret-token" in refused.err) == (2, True, False)
    file.chmod(0o600)
    assert run("pipelines", "list", *options).status == 6
