import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from embedded.product import BIN, PROJECT
from tests.cases import cases
from tests.command_line import CommandLine, imported
from tests.receiving import dripping, serving

NOWHERE = {"COORDINATOR_TENANT": "acme", "COORDINATOR_TOKEN": "the-token", "COORDINATOR_URL": "http://127.0.0.1:1"}
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"
CHANNELS = 'alertChannels:\n  ops: {kind: webhook, address: "https://h.example/hook"}\n'
RULES = "alertRules:\n  stuck: {kind: stranded, thresholds: {minutes: 5}, channels: [ops]}\n"


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, NOWHERE)


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


READ = r"""Gradual activation id  g
Step                   2
Cause                  -
Started at             2001-01-01 00:00:00Z (N d ago)
Bounds                 factor 1.5, cause -

Steps
  SHARE  MINIMUM SAMPLE  NOTE
  10     20
  10     20              x

Groups
  Tags    vip
  Tokens  -

Input
  orderId  7
  text
    one
    two\x1b]0;owned\x07\x1b[2J\u202e

Evidence
  Drift   -0.0123457
  States  FAILED 2
  Lacks   0 of 50. Minutes: 1 of 5.
  Parts, 1 of 1
    A
      SHARE  MINIMUM SAMPLE
      10     20
"""


def test_people_read_facts_sections_and_tables_and_count_from_one(run: CommandLine) -> None:
    step, states = {"share": 10.0, "minimumSample": 20, "note": ""}, [{"state": "FAILED", "count": 2}]
    lacks, at = ["0 of 50.", "Minutes: 1 of 5."], "2001-01-01T00:00:00.5Z"
    gradual = {
        **{"gradualActivationId": "g", "step": 1, "cause": None, "endReason": "", "startedAt": at},
        **{"steps": [step, {**step, "note": "x"}], "groups": {"tags": ["vip"], "tokens": []}},
        **{"bounds": {"factor": 1.5, "cause": None}, "input": {"orderId": 7, "text": f"one\ntwo{ESCAPE}"}},
        **{"evidence": {"drift": -0.0123456789, "states": states, "lacks": lacks, "parts": [{"a": [step]}]}},
    }
    with serving(gradual, {"items": [gradual], "next": None}) as server:
        shown = run("gradual", "show", "p", "g", f"--url={server.origin}").out
        listed = run("gradual", "list", "p", f"--url={server.origin}").out
    assert re.sub(r"\d+ d ago", "N d ago", shown) == READ
    assert "2 of 2" in listed


def test_help_lists_the_commands_of_the_product_and_only_at_the_end_those_of_django(run: CommandLine) -> None:
    shown, whole = run("help").out, run("help", "--all").out
    own, others = whole.split("Commands of Django")
    files = PROJECT.glob("*/management/commands/[a-z]*.py")
    assert {*re.findall(r"^  (\w+) {2,}[A-Z]", own, re.M), "migrate"} >= {file.stem for file in files}
    assert ["sqlmigrate" in text for text in (shown, own, others)] == [False, False, True]


def test_help_texts_appear_as_they_are_written(run: CommandLine) -> None:
    assert ", such as 10:100:30. " in run.on_a_terminal("gradual", "start", "--help", columns=200).out


@cases("columns", [40, 90])
def test_ids_stay_whole_on_a_terminal(run: CommandLine, columns: int) -> None:
    execution = {"executionId": "01a23189-a34c-70b5-b663-8e8cebaf6fd0", "businessKey": "order " * 20}
    with serving({"items": [execution], "next": None}) as server:
        shown = run.on_a_terminal("executions", "list", f"--url={server.origin}", columns=columns).out
    assert execution["executionId"] in shown
    assert (execution["businessKey"].strip() in shown) == (columns == 40)


def test_a_past_time_is_read_as_people_write_it(run: CommandLine, tmp_path: Path) -> None:
    listing = {"pipelines": [{"pipelineId": "p", "activation": {"releaseVersion": "1.4"}}]}
    with serving(listing, {"payload": "signed"}) as server:
        shown = run("pipelines", "active", "yesterday 9", f"--signed={tmp_path / 'a.json'}", f"--url={server.origin}")
        refused = run("pipelines", "active", "soonish", f"--url={server.origin}")
    assert (shown.status, refused.status) == (0, 2)
    assert "1.4" in shown.out
    assert "09:00:00" in shown.err
    assert "it must be a time such as" in refused.err
    first, second = (request.path for request in server.requests)
    assert first.partition("?")[2] == second.partition("?")[2] != ""
    assert second.partition("?")[0].endswith("/active/export")
    assert json.loads((tmp_path / "a.json").read_text()) == {"payload": "signed"}


def test_a_redirect_is_not_followed(run: CommandLine) -> None:
    with serving({}) as elsewhere, serving({}, status=302, headers={"Location": elsewhere.origin}) as server:
        done = run("pipelines", "show", "p", f"--url={server.origin}")
        assert (done.status, elsewhere.requests) == (6, [])
        assert f"redirects to {elsewhere.origin}" in done.err


def test_the_next_page_is_on_the_same_server(run: CommandLine) -> None:
    with serving({"items": [], "next": None}) as elsewhere:
        first = {"items": [pipeline("one")], "next": f"{elsewhere.origin}/api?cursor=abc&pageSize=9"}
        with serving(first, {"items": [pipeline("two")], "next": None}) as server:
            listed = run.json("pipelines", "list", f"--url={server.origin}")
    assert [row["pipelineId"] for row in listed] == ["one", "two"]
    assert elsewhere.requests == []
    assert [request.path.rpartition("?")[2] for request in server.requests] == ["pageSize=50", "pageSize=49&cursor=abc"]
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer the-token"}


def test_a_response_that_drips_is_cut_off_and_the_change_may_have_happened(run: CommandLine) -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nX: ") as host:
        done = run("executions", "cancel", "e", f"--url=http://{host}", "--request-seconds=1", "--yes")
    assert (done.status, "may have been carried out" in done.err) == (6, True)


def test_names_stay_within_their_segment(run: CommandLine) -> None:
    with serving({}) as server:
        assert run("pipelines", "show", "../../x?y#z", f"--url={server.origin}").status == 0
        assert run("pipelines", "show", "..", f"--url={server.origin}").status == 2
    assert [request.path for request in server.requests] == ["/api/v1/tenants/acme/pipelines/..%2F..%2Fx%3Fy%23z"]


@cases("command", ["--help", "executions list"])
def test_no_django_is_loaded(command: str) -> None:
    names = imported(*command.split(), *(["--url=http://127.0.0.1:1", "--tenant=t", "--token=x"] * ("list" in command)))
    assert {"typer", "coordinator"} <= names
    assert not names & {"django", "celery", "psycopg", "rest_framework", "boto3", "requests"}


def test_a_token_file_is_private(run: CommandLine) -> None:
    file = run.home / "token"
    file.write_text("secret-token\n")
    options = ["--url=http://127.0.0.1:1", "--tenant=t", f"--token-file={file}"]
    file.chmod(0o640)
    refused = run("pipelines", "list", *options)
    assert (refused.status, "chmod 600" in refused.err, "secret-token" in refused.err) == (2, True, False)
    file.chmod(0o600)
    assert run("pipelines", "list", *options).status == 6


def test_tail_reads_the_list_of_a_coordinator_without_streams_and_shows_progress_on_stderr(run: CommandLine) -> None:
    events: list[dict[str, Any]] = [
        {"sequence": number, "kind": "KIND", "status": status, "data": {}}
        for number, status in enumerate(["RUNNING", "SUCCEEDED"], 1)
    ]
    lists = [{"items": events[:count], "next": None} for count in (1, 2)]
    running = {"status": "RUNNING", "progress": {"done": 2, "total": 6, "message": "loading"}}
    with serving({}, running, lists[0], running, {"status": "SUCCEEDED"}, lists[1]) as server:
        server.statuses = [406, 200]
        done = run("executions", "tail", "e1", f"--url={server.origin}", "--output=json")
    assert (done.status, [json.loads(line) for line in done.out.splitlines()]) == (0, events)
    assert done.err == "2 of 6: loading\n"


BLANK = {"code": "INVALID_REQUEST", "detail": "reason: x", "errors": [{"field": "reason", "message": "x"}]}
FAILED = {"code": "REDRIVE_REFUSED", "detail": "Execution e cannot be re-driven from status FAILED"}


@cases(
    ("arguments", "problem", "status", "says"),
    [
        (["releases", "rollback", "p"], BLANK, 400, "reason: x\n  add --reason TEXT\n"),
        (["executions", "redrive", "e"], FAILED, 409, "; run it again all the same with --allow-failed\n"),
        (["executions", "submit", "p", "--input=in.json"], {}, 500, "; to read the file, write --input @in.json\n"),
    ],
)
def test_an_error_says_what_to_write(
    run: CommandLine, arguments: list[str], problem: dict[str, Any], status: int, says: str
) -> None:
    (run.home / "in.json").touch()
    with serving(problem, status=status) as server:
        done = run(*arguments[:2], *(["--yes"] if status < 500 else []), f"--url={server.origin}", *arguments[2:])
    assert done.err.endswith(says), done


CHANNEL = {
    **{"channelId": "c1", "name": "ops", "kind": "webhook"},
    **{"address": "https://h.example/…", "secret": "", "enabled": True},
}
RULE = {
    **{"ruleId": "r1", "name": "stuck", "kind": "stranded", "thresholds": {"minutes": 5}},
    **{"pipelineId": None, "channelIds": ["c1"], "enabled": True},
}


@cases(
    ("text", "message"),
    [
        ("tenant: other", "tenant: the file is about another tenant"),
        ("members: {eva: [viewer, viewer]}", "members.eva: contains a text twice"),
        ("members: {eva: {groups: [finance]}}", "members.eva: roles is missing"),
        ("members: {eva: [viewer], eva: []}", "the key 'eva' is there twice"),
        ("a: &x [1]\nb: *x", "aliases are not supported"),
        ("tenant: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("#" + "x" * 2**20, "has more than 1,048,576 bytes"),
    ],
)
def test_files_that_are_not_valid(run: CommandLine, text: str, message: str) -> None:
    (run.home / "t.yaml").write_text(text)
    done = run("apply", "t.yaml", "--yes")  # nothing listens at the address, so no request is sent before
    assert (done.status, message in done.err) == (2, True), done


def test_a_private_key_is_not_sent(run: CommandLine) -> None:
    (run.home / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    (run.home / "t.yaml").write_text("trustedKeys: [{name: ci, publicKeyFile: key.pem}]")
    done = run("apply", "t.yaml", "--yes")
    assert (done.status, "private key" in done.err) == (2, True)


def apply(run: CommandLine, text: str, *bodies: Any) -> Any:
    """Apply a file to an API that responds with `bodies`. Return the output, and the requests that change something."""
    (run.home / "t.yaml").write_text(text)
    with serving(*bodies) as server:
        done = run("apply", "t.yaml", "--yes", f"--url={server.origin}")
    changes = [request for request in server.requests if request.method != "GET"]
    return done, [(call.method, call.path.rpartition("acme/")[2], call.json if call.body else None) for call in changes]


def page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "next": None}


def test_what_differs_is_changed(run: CommandLine) -> None:
    text = CHANNELS.replace("h.example", "other.example") + RULES.replace("5", "9").replace("[ops]", "[]")
    done, sent = apply(run, text, page(CHANNEL), page(RULE), CHANNEL, RULE)
    assert done.out.splitlines()[:3] == [
        '~ alertChannels.ops.address: "https://h.example/…" -> "https://other.example/…"',
        '~ alertRules.stuck.thresholds: {"minutes": 5} -> {"minutes": 9}',
        '~ alertRules.stuck.channels: ["ops"] -> []',
    ]
    assert sent == [
        ("PATCH", "alert-channels/c1", {"address": "https://other.example/hook"}),
        ("PATCH", "alert-rules/r1", {"thresholds": {"minutes": 9}, "channelIds": []}),
    ]


def test_a_policy_names_a_channel_of_the_same_file(run: CommandLine) -> None:
    example = CHANNELS + "pipelines:\n  org.example.orders:\n    policy: {notifyChannel: ops, notifyEnds: failed}\n"
    present = {"notifyChannel": None, "notifyEnds": "all"}
    done, sent = apply(run, example, page(), present, CHANNEL, present)
    assert done.status == 0, done
    channel, policy = sent
    assert channel[:2] == ("POST", "alert-channels")
    assert channel[2].items() >= {"kind": "webhook", "address": "https://h.example/hook"}.items()
    assert policy == ("PATCH", "pipelines/org.example.orders", {"notifyChannel": "ops", "notifyEnds": "failed"})


def test_schedules_are_added_changed_and_removed(run: CommandLine) -> None:
    known = {"scheduleId": "s1", "name": "nightly", "pipelineId": "orders", "cron": "0 2 * * *", "input": {"n": 1}}
    text = "schedules:\n  nightly: {pipelineId: orders, cron: 0 3 * * *, input: {n: 1}, overlap: cancel}\n"
    text += "  new: {pipelineId: orders, cron: 0 4 * * *, input: 1}\ncomplete: [schedules]"
    old = {**known, "scheduleId": "s2", "name": "old"}
    done, sent = apply(run, text, page({**known, "overlap": "skip"}, old), known, known, old)
    assert done.status == 0, done
    assert sent == [
        ("PATCH", "schedules/s1", {"cron": "0 3 * * *", "overlap": "cancel"}),
        ("POST", "schedules", {"name": "new", "pipelineId": "orders", "cron": "0 4 * * *", "input": 1}),
        ("POST", "schedules/s2/remove", None),
    ]
    done, sent = apply(run, text.replace("orders", "other"), page(known))
    assert ("pipelineId is 'orders' and cannot be changed" in done.err, sent) == (True, [])


def test_what_the_file_does_not_name_is_removed_if_it_is_complete(run: CommandLine) -> None:
    text = "alertChannels: {}\nalertRules: {}\ncomplete: [alertRules, alertChannels]"
    done, sent = apply(run, text, page(CHANNEL), page(RULE), RULE, CHANNEL)
    assert done.status == 0, done
    removals = ["alert-rules/r1/remove", "alert-channels/c1/remove"]
    assert sent == [("POST", path, None) for path in removals]


def test_groups_follow_the_roles_and_stay_if_the_file_omits_them(run: CommandLine) -> None:
    text = "members:\n  eva: {roles: [viewer], groups: [legal, finance]}\n  max: [viewer]\n"
    present = [{"username": name, "role": "viewer", "groups": ["finance"]} for name in ("eva", "max")]
    done, sent = apply(run, text, page(*present), {})
    assert done.out.splitlines()[0] == '~ members.eva.groups: ["finance"] -> ["finance", "legal"]'
    assert sent == [("POST", "members/groups", {"username": "eva", "groups": ["finance", "legal"]})]


def test_the_second_plan_of_a_file_is_empty_whatever_spaces_it_has(run: CommandLine) -> None:
    mail = {**CHANNEL, "kind": "email", "address": "a@x.example,b@x.example", "secret": "pager"}
    text = 'alertChannels:\n  ops: {kind: email, address: " a@x.example, b@x.example ", secret: " pager"}\n'
    done, _ = apply(run, text, page(mail))
    assert done.out == "nothing to change\n"
    done, _ = apply(run, text.replace("ops", '" ops"'), page(mail))
    assert "alertChannels. ops: the name must not begin or end with a space" in done.err


def test_a_rule_uses_no_channel_that_the_file_removes(run: CommandLine) -> None:
    done, sent = apply(run, "alertChannels: {}\n" + RULES + "complete: [alertChannels]\n", page(CHANNEL), page(RULE))
    assert "alertRules.stuck.channels: there is no alert channel 'ops'" in done.err
    assert sent == []


@cases("program", ["coordinator help", "pipelines new orders", "coordinator pipelines active --signed=a --output=json"])
def test_a_reader_that_ends_first_is_no_error(run: CommandLine, program: str) -> None:
    reader, output = os.pipe()
    os.close(reader)
    with serving({}) as server, os.fdopen(output) as stdout:
        name, *words = program.split()
        environment = {**os.environ, **NOWHERE, "COORDINATOR_URL": server.origin, "PYTHONPATH": str(PROJECT)}
        command = [str(BIN / name), *words]
        done = subprocess.run(command, env=environment, cwd=run.home, stdout=stdout, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr, "signed" in program) == (141, b"", (run.home / "a").exists())


def test_a_misspelt_setting_is_refused_with_the_nearest_one(run: CommandLine) -> None:
    done = run("dev", "--set", "MAX_REQEST_BYTES=1")
    assert (done.status, done.err.endswith("MAX_REQEST_BYTES; did you mean MAX_REQUEST_BYTES?\n")) == (1, True)


def test_a_check_of_all_failures_follows_the_pages_and_adds_them_up(run: CommandLine) -> None:
    def page(count: int, following: str | None) -> dict[str, Any]:
        reason = {"text": "input.n: is missing", "count": count, "exampleExecutionId": "e"}
        groups = [{"start": "checkpoint", "count": 1}, {"start": "neither", "count": count, "reasons": [reason]}]
        return {"targetReleaseVersion": "1.0", "next": following, "waits": "No worker", "groups": groups}

    with serving(page(2, "9-a"), page(3, None)) as server:
        done = run("recoveries", "check", "p", "1.1", "--every", f"--url={server.origin}")
    rows = [line.split()[:2] for line in done.out.splitlines()[1:]]
    assert (done.status, rows) == (1, [["checkpoint", "2"], ["neither", "5"], ["neither", "5"]])
    assert "accepts no executions now: No worker" in done.err
    assert server.requests[1].path.endswith("?after=9-a&to=1.0")
