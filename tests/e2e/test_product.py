import os
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM

import pytest
from django.conf import settings
from redis import Redis

from coordinator_client.api import Client, Connection
from pipelines.development.following import Follower
from tenancy.roles import Scope
from tests.broker import owner_url
from tests.command_line import CommandLine
from tests.e2e.orders import ONCE, PIPELINE, Orders
from tests.running import BuiltRelease, RunningProduct, TenantInUse, eventually
from wire.messages.queues import OUTCOME_QUEUE
from wire.worker_keys import worker_key

CONTROL_QUEUE = "control"


@pytest.fixture
def broker() -> Iterator[Redis]:
    with Redis.from_url(owner_url()) as client:
        yield client


def test_a_release_is_built_uploaded_and_executed(tenant: TenantInUse, v1: BuiltRelease, tmp_path: Path) -> None:
    verified = tenant.publish(v1)
    assert (verified["active"], verified["findings"]) == (False, [])
    worker = tenant.start_worker(v1, "only")
    tenant.activate(v1)
    accepted = [tenant.eventually_accepted("tests.pinned", {"number": number}, f"k{number}") for number in range(6)]
    assert {execution["pin"]["releaseVersion"] for execution in accepted} == {"1.0"}
    for number, execution in enumerate(accepted):
        tenant.wait_for(execution["executionId"], "SUCCEEDED")
        assert tenant.result(execution["executionId"]) == {"number": number, "made_by": "code v1, attempt 0"}
        assert [event["kind"] for event in tenant.events(execution["executionId"])] == ONCE
    [match] = tenant.get("executions?pipelineId=tests.pinned&search.number=3")["items"]
    assert match["executionId"] == accepted[3]["executionId"]
    assert len(tenant.get("executions?search.number.from=2&search.number.to=4")["items"]) == 2
    repeated = tenant.submit("tests.pinned", {"number": 0}, "k0")
    assert (repeated.status_code, repeated.json()["executionId"]) == (200, accepted[0]["executionId"])
    assert tenant.submit("tests.pinned", {"number": 1}, "k0").json()["code"] == "IDEMPOTENCY_KEY_REUSED"

    # Before it ends, a worker finishes its transition and reports that it is gone.
    gate = tmp_path / "gate"
    last = tenant.eventually_accepted("tests.pinned", {"number": 7, "gate": str(gate)}, "last")["executionId"]
    tenant.wait_until_begun(last)
    worker.send(SIGTERM)
    gate.touch()
    assert worker.wait(30) == 0
    tenant.wait_for(last, "SUCCEEDED")
    tenant.wait_for_worker("only", "UNAVAILABLE")
    assert tenant.submit("tests.pinned", {"number": 8}, "late").json()["code"] == "WORKER_UNAVAILABLE"


def test_only_members_with_the_group_answer(orders: Orders, tmp_path: Path) -> None:
    tenant = orders.tenant
    named = {"COORDINATOR_URL": tenant.product.url, "COORDINATOR_TENANT": tenant.tenant.slug}
    run = CommandLine(tmp_path, {**named, "COORDINATOR_TOKEN": tenant.token(Scope)})
    shown: list[str] = []
    connection = Connection(tenant.product.url, tenant.tenant.slug, tenant.token(Scope))
    follower = Follower(Client(connection), lambda _, text: shown.append(text))  # of `pipelines dev`
    follower.begin(PIPELINE)
    waiting = orders.submit(questions=1)
    tenant.wait_for(waiting, "WAITING_EXTERNAL")
    user = tenant.tenant.tokens.latest("created").user.username
    run("members", "add", user, "operator", "--yes")
    [question] = run.json("questions", "list", f"--execution={waiting}")
    reason = ("--reason=it is about money", "--yes")
    run("members", "groups", user, "finance", "--yes")
    run("questions", "reassign", question["questionId"], "--group=finance", *reason)
    run("members", "groups", user, "--yes")
    answer = ("questions", "answer", question["questionId"], '--response={"note": "ok"}', "--yes")
    refused = run(*answer)
    assert (refused.status, "Only members of finance may answer." in refused.err) == (4, True)
    follower.look()
    assert f"you may not answer, only members of finance may: {tenant.product.url}/admin" in shown[-1]
    run("members", "groups", user, "finance", "legal", "--yes")
    assert [question["restricted"] for question in run.json("questions", "list", "--mine")] == [True]
    run(*answer)
    assert orders.receipt(waiting)["notes"] == ["ok"]
    assert "QUESTION_REASSIGNED" in orders.kinds(waiting)


def test_retries_answers_and_redrives_run_on_the_pinned_release_after_a_switch(orders: Orders, tmp_path: Path) -> None:
    tenant = orders.tenant
    named = {"COORDINATOR_URL": tenant.product.url, "COORDINATOR_TENANT": tenant.tenant.slug}
    run = CommandLine(tmp_path, {**named, "COORDINATOR_TOKEN": tenant.token(Scope)})
    second = tenant.start_worker(orders.releases["2.0"], "second")
    retried = orders.begun(fail_times=1)
    answered = orders.submit(questions=2)
    dead = orders.submit(fail_times=3)
    tenant.wait_for(answered, "WAITING_EXTERNAL")
    error = tenant.wait_for(dead, "DLQ")["error"]
    assert (error["code"], error["message"]) == ("RuntimeError", 'step "Settle": attempt 2 of 1.0 fails')
    assert error["traceback"].splitlines()[1].startswith('  File "orders.py", line ')
    waits, failed = (run("executions", "explain", execution_id).out for execution_id in (answered, dead))
    assert waits.startswith(f"Execution {answered} is WAITING_EXTERNAL.\nApprove (step 4), item 1, waits for")
    assert failed.startswith(f"Execution {dead} is DLQ.\nFailed at Settle (step 2), ")
    assert "in attempt 3: RuntimeError: attempt 2 of 1.0 fails\n    Traceback (most recent call last):\n" in failed

    assert tenant.activate(orders.releases["2.0"])["rollback"] is False
    on_second = orders.submit()
    orders.open(retried)
    for item in tenant.get(f"questions?status=pending&executionId={answered}")["items"]:
        body = {"questionId": item["questionId"], "response": {"note": f"item {item['itemIndex']}"}}
        orders.tenant.post("questions/answer", **body)
    assert orders.tenant.post(f"executions/{dead}/redrive", reason="fixed")["pin"]["releaseVersion"] == "1.0"

    assert orders.receipt(retried) == {"notes": [], "made_by": "1.0", "attempt": 1}
    assert orders.receipt(answered) == {"notes": ["item 0", "item 1"], "made_by": "1.0", "attempt": 0}
    assert orders.receipt(dead) == {"notes": [], "made_by": "1.0", "attempt": 3}
    assert orders.workers(retried, answered, dead) == {"first"}
    assert orders.kinds(retried) == ["SUBMITTED", "CLAIMED", "RETRY_SCHEDULED", "CLAIMED", "SUCCEEDED"]
    assert orders.kinds(answered) == [*ONCE[:2], "AWAITING", "AWAIT_COMPLETED", "CLAIMED", "SUCCEEDED"]
    # A retry resumes at the step that failed, with the checkpoint of the one before.
    assert [orders.runs(dead, step) for step in ("price", "settle")] == [1, 4]
    assert orders.receipt(on_second) == {"notes": [], "made_by": "2.0", "attempt": 0}
    assert orders.workers(on_second) == {"second"}

    again = run.json("executions", "resubmit", dead, "--reason=by hand", "--allow-replaced", "--yes")
    [key] = {row["idempotencyKey"] for row in run.json("executions", "list") if row["executionId"] == dead}
    assert (again["businessKey"], again["idempotencyKey"].split(":")[:2]) == (key, ["resubmit", dead])
    listed = run.json("executions", "list", f"--business-key={key}")
    assert [row["executionId"] for row in listed] == [again["executionId"], dead]

    retried_on_second = orders.begun(fail_times=1)
    assert tenant.activate(orders.releases["1.0"], "2.0 is wrong")["rollback"] is True
    assert orders.receipt(orders.submit())["made_by"] == "1.0"
    orders.open(retried_on_second)
    assert orders.receipt(retried_on_second)["made_by"] == "2.0"
    tenant.wait_for(again["executionId"], "DLQ")
    second.stop()


def test_a_drained_worker_finishes_its_commands_and_gets_no_more(orders: Orders) -> None:
    tenant = orders.tenant
    held = orders.begun(fail_times=1)
    orders.request("drain", "first")
    drained = time.monotonic()
    orders.wait_until("first", state="DRAINING", taking=False, holding=1)
    eventually(lambda: time.monotonic() > drained + settings.SUBMISSION_CACHE_SECONDS, what="the end of its admission")
    refused = tenant.submit(PIPELINE, {"number": 0, "folder": ""}, "to-nobody")
    assert (refused.status_code, refused.json()["code"]) == (503, "WORKER_UNAVAILABLE")
    orders.open(held)
    [stranded] = eventually(lambda: tenant.get("stranded")["items"], what="the stranded work")
    assert (stranded["pin"]["releaseVersion"], stranded["executions"]) == ("1.0", 1)
    assert tenant.execution(held)["status"] == "WAIT_RETRY"
    orders.wait_until("first", holding=0)

    relief = tenant.start_worker(orders.releases["1.0"], "relief")
    assert orders.receipt(held)["attempt"] == 1
    assert orders.runs(held, "price") == 1, "the relief resumes at the checkpoint"
    assert orders.run_by() == {"relief"}
    orders.request("undrain", "first")
    orders.wait_until("first", state="HEALTHY", taking=True)
    orders.request("drain", "relief")
    orders.wait_until("relief", taking=False)
    assert orders.run_by() == {"first"}
    relief.stop()


def test_a_worker_takes_over_from_one_that_lost_its_lease_and_from_one_that_was_killed(orders: Orders) -> None:
    tenant = orders.tenant
    execution_id = orders.begun(checks_cancellation=True)
    orders.first.send(SIGSTOP)
    try:
        spare = tenant.start_worker(orders.releases["1.0"], "spare")
        eventually(lambda: tenant.execution(execution_id)["worker"] == "spare", what="the takeover", seconds=60)
    finally:
        os.kill(orders.first.pid, SIGCONT)
    # The step notices that its outcome no longer counts, although its gate is closed.
    lost = f"The lease of execution {execution_id} is lost"
    eventually(lambda: lost in orders.first.log.read_text(), what="the loss of the lease")
    orders.wait_until("first", holding=0)
    assert orders.worker("spare")["holding"] == 1

    spare.kill()
    orders.open(execution_id)
    assert orders.receipt(execution_id)["attempt"] == 0, "a takeover is not an attempt"
    assert orders.runs(execution_id, "settle") == 3
    kinds = orders.kinds(execution_id)
    # A command that reaches a stopped worker waits in it until its lease expires, too.
    assert kinds.count("CLAIMED") == kinds.count("LEASE_EXPIRED") + 1 >= 3
    assert kinds[-1] == "SUCCEEDED", kinds
    assert tenant.events(execution_id)[-1]["actor"] == "worker:first"


def test_outcomes_and_retries_wait_for_their_processes(running: RunningProduct, orders: Orders, broker: Redis) -> None:
    """Without the clock no lease is taken over, so that only its own message can end the first execution."""
    execution_id = orders.begun()
    running.kill("clock")
    eventually(lambda: broker.llen(CONTROL_QUEUE) == 0, what="the end of the clock's last messages")
    eventually(lambda: broker.hlen("unacked") == 0, what="their acknowledgements")
    orders.wait_for_heartbeat("first")
    running.kill("control-worker")
    accepted = orders.submit()
    orders.open(execution_id)
    eventually(lambda: broker.llen(OUTCOME_QUEUE) > 0, what="the outcome in its queue")
    running.product.start_control_worker()
    for order in (execution_id, accepted):
        assert orders.receipt(order)["attempt"] == 0
        assert (orders.kinds(order), orders.runs(order, "settle")) == (ONCE, 1)

    orders.tenant.wait_for_worker("first", "HEALTHY")
    retried = orders.submit(fail_times=1)
    orders.tenant.wait_for(retried, "WAIT_RETRY", "SUCCEEDED")
    running.restore()
    assert orders.receipt(retried)["attempt"] == 1


def test_a_worker_with_a_wrong_key_is_refused_and_ends(orders: Orders, running: RunningProduct) -> None:
    slug = orders.tenant.tenant.slug
    wrong = worker_key(f"not {settings.WORKER_SECRET}", slug).text
    release = orders.releases["2.0"].descriptor
    worker = running.product.start_worker("wrong", release=release, tenant=slug, key=wrong)
    orders.tenant.workers.append(worker)
    eventually(lambda: not worker.running, what="its end", seconds=60)
    assert worker.status == 2
    assert "error: WORKER_REFUSED: no coordinator accepts this worker: KEY_NOT_ACTIVE" in worker.log.read_text()
    assert "wrong" not in [worker["workerId"] for worker in orders.tenant.get("workers")["items"]]
