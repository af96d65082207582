"""`coordinator` against the running product: releases, executions, tokens, and the exit status of answers."""

import json
import shutil
from pathlib import Path

import pytest

from coordinator_client.api import Client, Connection
from pipelines import DefinitionError
from pipelines.release import descriptor
from pipelines.release.publish import publish
from tenancy.roles import Scope
from tests.command_line import CommandLine
from tests.running import BuiltRelease, TenantInUse

P = "tests.pinned"
# Each test starts dozens of processes, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def run(tenant: TenantInUse, tmp_path: Path) -> CommandLine:
    address = {"COORDINATOR_URL": tenant.product.url, "COORDINATOR_TENANT": tenant.tenant.slug}
    return CommandLine(tmp_path, {**address, "COORDINATOR_TOKEN": tenant.token(Scope)})


def test_a_release_from_its_upload_to_its_end(
    run: CommandLine, tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease, tmp_path: Path
) -> None:
    assert run("releases", "upload", str(v1.descriptor.parent), "--dry-run").status == 0
    assert run.json("pipelines", "list") == []
    for release in (v1, v2):
        uploaded = run("releases", "upload", str(release.descriptor.parent))
        assert (uploaded.status, "REGISTERED" in uploaded.out) == (0, True), uploaded
    assert [release["releaseVersion"] for release in run.json("releases", "list", P)] == ["2.0", "1.0"]

    kept = tmp_path / "kept" / "1.0"
    for _ in ("downloaded", "completed"):
        names = {v1.descriptor.name, v1.artifact.name}
        assert set(run.json("releases", "download", P, "1.0", "--out=kept")["files"]) == names
        assert all((kept / path.name).read_bytes() == path.read_bytes() for path in (v1.descriptor, v1.artifact))
        (kept / v1.artifact.name).unlink()
    assert run("releases", "download", P, "1.0", "--out=kept").status == 0
    assert run("releases", "upload", str(kept)).status == 0
    (kept / v1.descriptor.name).write_bytes(v2.descriptor.read_bytes())
    other = run("releases", "download", P, "1.0", "--out=kept")
    assert (other.status, "error: RELEASE_EXISTS: " in other.err) == (2, True)
    assert run("releases", "download", P, "3.0").status == 5

    refused = run("releases", "activate", P, "1.0", "--yes")
    assert (refused.status, refused.out) == (3, "")
    assert refused.err.startswith("error: 409 WORKER_REQUIRED: ")
    assert run("releases", "activate", P, "1.0", "--dry-run").status == 1
    assert run("releases", "preflight", P, "1.0").status == 1
    changed = run("pipelines", "policy", P, "workerGate=off", "--yes")
    assert (changed.status, changed.out, tenant.get(f"pipelines/{P}")["workerGate"]) == (0, "Worker gate  off\n", "off")
    assert run("releases", "activate", P, "1.0", "--dry-run").status == 0
    unconfirmed = run("releases", "activate", P, "1.0")
    assert (unconfirmed.status, "--yes" in unconfirmed.err) == (2, True)
    denied = run.on_a_terminal("releases", "activate", P, "1.0", typed="n\n")
    assert (denied.status, "Activate 1.0 of tests.pinned? [y/N]" in denied.out) == (2, True)
    assert tenant.get(f"pipelines/{P}")["activeReleaseVersion"] is None
    assert run.on_a_terminal("releases", "activate", P, "1.0", typed="y\n").status == 0

    begun = run.json("gradual", "start", P, "2.0", "--step=10:20:0", "--yes")["gradualActivationId"]
    for way in (["gradual", "promote", P, begun], ["releases", "activate", P, "2.0"]):
        refused = run(*way, "--yes")
        assert (refused.status, "REASON_REQUIRED: A promotion without full evidence" in refused.err) == (3, True)
    assert run.json("gradual", "promote", P, begun, "--reason=next", "--yes")["status"] == "PROMOTED"
    assert run("releases", "activate", P, "1.0", "--expected=1.0", "--yes", "--reason=x").status == 3
    assert run.json("releases", "rollback", P, "--reason=worse", "--yes")["releaseVersion"] == "1.0"
    kinds = [activation["kind"] for activation in run.json("releases", "activations", P)]
    assert kinds == ["rollback", "promotion", "gradual", "activation"]
    assert run.json("releases", "diff", P, "1.0", "2.0") is not None
    needed = run("releases", "retire", P, "1.0", "--dry-run")
    assert (needed.status, "ACTIVE" in needed.out) == (1, True)
    assert run("releases", "retire", P, "1.0", "--reason=old", "--yes").status == 3
    assert run.json("releases", "revoke", P, "2.0", "--reason=bad", "--dry-run")["schedules"] == []
    assert run.json("releases", "revoke", P, "2.0", "--reason=bad", "--yes")["releaseVersion"] == "2.0"
    assert run("releases", "show", P, "3.0").status == 5


def test_a_version_that_is_taken(tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease, tmp_path: Path) -> None:
    tenant.register(v1)
    shutil.copy(v2.artifact, tmp_path)
    folder = descriptor.release(tmp_path, release_version="1.0").path.parent
    for scopes, differs in ((Scope, r": .*pinned\.py is changed"), ([Scope.READ, Scope.REGISTER], "")):
        client = Client(Connection(tenant.product.url, tenant.tenant.slug, tenant.token(scopes)))
        text = rf"^VERSION_TAKEN: {P} 1\.0 is registered with other code{differs}.*--release-version 1\.1"
        with pytest.raises(DefinitionError, match=text):
            publish(folder, client, progress=lambda _sent, _total: None)


def test_executions_to_their_result(run: CommandLine, tenant: TenantInUse, v1: BuiltRelease, tmp_path: Path) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    assert run("executions", "submit", P, '--input={"number": 1}', "--key=k").status == 6
    tenant.start_worker(v1, "worker")
    assert run("executions", "submit", P, '--input={"number": 1}', "--key=k", "--dry-run").status == 0
    assert run.json("executions", "list") == []
    done = run("executions", "submit", P, '--input={"number": 1}', "--key=k", "--wait")
    assert (done.status, json.loads(done.out)) == (0, {"number": 1, "made_by": "code v1, attempt 0"})
    [row] = run.json("executions", "list", f"--pipeline={P}", "--status=SUCCEEDED")
    assert run.json("executions", "result", row["executionId"]) == json.loads(done.out)
    assert run("executions", "wait", row["executionId"]).status == 0
    assert (row["executionId"] in run("executions", "list").out, row["currentStepName"]) == (True, "")
    assert run.json("executions", "list", "--search=number=1", "--search=number.to=2") == [row]
    assert run("executions", "list", "--search=number").status == 2

    gate = tmp_path / "gate"
    (tmp_path / "input.json").write_text(json.dumps({"number": 2, "gate": str(gate)}))
    held = run.json("executions", "submit", P, "--input=@input.json", "--key=held")["executionId"]
    assert run("executions", "wait", held, "--timeout=1").status == 8
    follower = run.start("executions", "tail", held, "--output=json")
    tenant.wait_until_begun(held)
    gate.touch()
    out, _ = follower.communicate(timeout=60)
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert (follower.returncode, kinds) == (0, [event["kind"] for event in tenant.events(held)])
    assert [event["sequence"] for event in run.json("executions", "events", held)] == list(range(1, len(kinds) + 1))

    again = run.json("executions", "resubmit", held, "--reason=once more", "--yes")
    assert again["resubmittedFrom"] == held
    assert run("executions", "cancel", held, "--yes").status == 3
    assert all(run.json(*what)["payload"] for what in (["executions", "provenance", held], ["pipelines", "history", P]))


def test_tokens_and_profiles(run: CommandLine, tenant: TenantInUse, tmp_path: Path) -> None:
    reader = tenant.token([Scope.READ], "reader")
    assert run("audit", "list", f"--token={reader}").status == 4
    assert run("pipelines", "list", "--token=wrong").status == 4

    person = CommandLine(tmp_path)
    nowhere = person("pipelines", "list")
    assert (nowhere.status, "coordinator login" in nowhere.err) == (2, True)
    local = tmp_path / ".coordinator" / "coordinator.env"
    local.parent.mkdir()
    words = f"export COORDINATOR_URL={tenant.product.url} COORDINATOR_TENANT={tenant.tenant.slug}"
    for mode, token, status in ((0o644, reader, 2), (0o600, "wrong", 4), (0o600, reader, 0)):
        local.write_text(f"{words} COORDINATOR_TOKEN={token}\n")
        local.chmod(mode)
        assert person("pipelines", "list").status == status
    assert person("pipelines", "list", "--url=http://127.0.0.1:1", "--tenant=t").status == 2
    # The file may be another person's, so a token of this person is not sent to its URL.
    assert person("pipelines", "list", f"--token={reader}").status == 2
    local.unlink()
    options = [f"--url={tenant.product.url}/", f"--tenant={tenant.tenant.slug}", "--token-stdin"]
    assert person("login", *options, stdin="wrong\n").status == 4
    assert person("login", *options, stdin=f"{reader}\n").status == 0
    file = tmp_path / ".config" / "coordinator" / "config.toml"
    assert (file.stat().st_mode & 0o777, reader in file.read_text()) == (0o600, True)
    assert reader not in person("profiles", "list").out
    assert person("pipelines", "list").status == 0
    # The token of a profile is for its own URL.
    elsewhere = person("pipelines", "list", "--url=http://127.0.0.1:1")
    assert (elsewhere.status, "its own URL" in elsewhere.err) == (2, True)
    file.chmod(0o644)
    open_to_all = person("pipelines", "list")
    assert (open_to_all.status, "chmod 600" in open_to_all.err, reader in open_to_all.err) == (2, True, False)
