"""A day of a busy tenant: pipelines with several releases, executions in every state, failures and open questions."""

import json
import random
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from embedded.product import PROJECT
from executions.holds import holds
from executions.lifecycle import outcome
from executions.models import Execution, Worker
from executions.state_machine.moves import Claim
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from releases.activation.activation import activate
from releases.models import Pipeline, Release
from tenancy.access import issue_token
from tenancy.models import Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.admin.conftest import World, person
from tests.building import build
from wire.messages.celery_messages import Failure, Outcome, OutcomeGroup

ORDERS = "org.example.restaurant-orders"
CUSTOMERS = ("Aino Virtanen", "Bruno Costa", "Chioma Obi", "Dmitri Volkov", "Elif Kaya", "Femi Adeyemi")
DISHES = ("Lentil soup", "Gnocchi", "Fish pie", "Pad thai", "Dosa", "Tarte tatin")
FAILURES = (
    ("ConnectTimeout", "POST https://ledger.example/entries timed out after 30 s (request {n})", 2),
    ("ConnectTimeout", "POST https://ledger.example/entries timed out after 30 s (request {n})", 2),
    ("ValidationError", "creditor account DE{n} is closed", 1),
    ("OutOfMemory", "the worker process was killed by signal 9", 1),
    ("KeyError", "'remittance_information'", 0),
)


@dataclass(frozen=True)
class Sizes:
    succeeded: int = 300
    failed: int = 60
    questions: int = 12


class BusyDay:
    """Fills a tenant. The same seed produces the same rows, apart from ids and times."""

    def __init__(self, tenant: Tenant, folder: Path, sizes: Sizes) -> None:
        self.tenant = tenant
        self.folder = folder
        self.sizes = sizes
        self.random = random.Random(20261126)

    def fill(self) -> None:
        for role in Role:
            person(f"{role.value}@{self.tenant.slug}", self.tenant, role)
        orders = self.release("orders", "1.4.0")
        self.release("orders", "1.5.0", activated=False)
        payments = self.release("payments", "2.0.0")
        for release in (orders, payments):
            making.worker(release, f"{release.pipeline.pipeline_id.rsplit('.', 1)[-1]}-a", capacity=1000)
            making.worker(release, f"{release.pipeline.pipeline_id.rsplit('.', 1)[-1]}-b", capacity=1000)
        self.succeed(payments, self.sizes.succeeded // 2)
        newer = self.release("payments_v2", "2.1.0")
        making.worker(newer, "payments-c", capacity=1000)
        self.succeed(newer, self.sizes.succeeded // 2)
        self.fail(newer, self.sizes.failed)
        self.ask(orders, self.sizes.questions)
        self.run(orders, 6)
        self.submit(newer, 8)
        silent = making.worker(orders, "orders-silent")
        Worker.objects.exclude(pk=silent.pk).update(alive_until=timezone.now() + timedelta(hours=3))
        making.silence(silent)
        paused = Execution.objects.filter(tenant=self.tenant, status="QUEUED").order_by("pk")[0]
        holds.pause(paused, actor="user:ann", reason="the customer called; wait for a new address")

    def release(self, example: str, version: str, *, activated: bool = True) -> Release:
        built = build(
            f"examples.{example}.pipeline:pipeline", self.source(), self.folder / f"{example}-{version}", version
        )
        upload = making.upload(self.tenant, built.document, built.artifact.read_bytes())
        release = making.verified(upload.release)
        Pipeline.objects.filter(pk=release.pipeline_id).update(retry_limit=0)
        if activated:
            activate(release, actor="user:release-manager", reason=f"{version} passed its tests")
        return Release.objects.select_related("pipeline__tenant", "pipeline__activation", "contract").get(pk=release.pk)

    def source(self) -> Path:
        """Return a folder with the examples and nothing else."""
        folder = self.folder / "source"
        if not folder.exists():
            shutil.copytree(PROJECT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    def submit(self, release: Release, count: int) -> list[Execution]:
        pipeline_id = release.pipeline.pipeline_id
        requests = [
            ExecutionRequest(
                pipeline_id=pipeline_id,
                input=self.order(number) if pipeline_id == ORDERS else self.file(number),
                idempotency_key=f"{pipeline_id.rsplit('.', 1)[-1]}-{number:05d}",
                tags=(self.random.choice(("eu", "us")), self.random.choice(("web", "app"))),
            )
            for number in self.numbers(count)
        ]
        verdicts = submit_many(self.tenant, requests, actor="token:web-shop")
        return [verdict.execution for verdict in verdicts if isinstance(verdict, Submission)]

    def numbers(self, count: int) -> list[int]:
        return self.random.sample(range(100_000), count)

    def order(self, number: int) -> dict[str, Any]:
        dishes = self.random.sample(DISHES, 2)
        lines = [{"dish": dish, "quantity": index + 1, "price": "12.50"} for index, dish in enumerate(dishes)]
        return {"request_id": f"r-{number}", "customer": self.random.choice(CUSTOMERS), "lines": lines}

    def file(self, number: int) -> dict[str, Any]:
        return {
            "name": f"payments-{number}.csv",
            "content": "creditor,iban,amount\nACME,DE89370400440532013000,10.00\n",
        }

    def claims(self, executions: list[Execution]) -> list[Claim]:
        wanted = {execution.pk for execution in executions}
        return [claim for claim in making.claimed(self.tenant, limit=1000) if claim.execution_id in wanted]

    def record(self, release: Release, outcomes: list[Outcome]) -> None:
        identity = Release.objects.select_related("pipeline__tenant").get(pk=release.pk).identity
        for start in range(0, len(outcomes), 50):
            part = outcomes[start : start + 50]
            assert outcome.record(identity, OutcomeGroup(worker_id="payments-a", outcomes=part)) == len(part)

    def succeed(self, release: Release, count: int) -> None:
        made = self.submit(release, count)
        result = json.dumps({"settled": 3, "rejected": [], "total": "310.00"})
        self.record(release, [making.outcome_of(claim, output_payloads=[result]) for claim in self.claims(made)])

    def fail(self, release: Release, count: int) -> None:
        outcomes = []
        for claim in self.claims(self.submit(release, count)):
            code, message, step = self.random.choice(FAILURES)
            failure = Failure(
                failure_class=code,
                message=message.format(n=self.random.randrange(10**6)),
                retryable=code != "ValidationError",
                step_index=step,
                traceback=f'Traceback (most recent call last):\n  File "settlement.py", line 41, in settle\n{code}',
            )
            outcomes.append(making.outcome_of(claim, "FAILED", failure=failure))
        self.record(release, outcomes)

    def ask(self, release: Release, count: int) -> None:
        made = self.submit(release, count)
        outcomes = []
        assert release.contract is not None
        decision = release.contract.document["steps"][2]["outputTypeId"]
        for claim in self.claims(made):
            request = {
                "order_id": str(claim.execution_id),
                "customer": self.random.choice(CUSTOMERS),
                "total": "37.50",
                "dishes": self.random.sample(DISHES, 2),
            }
            outcomes.append(
                making.suspension(
                    claim,
                    json.dumps(request),
                    step_index=2,
                    step_id="Await restaurant decision",
                    output_type=decision,
                    timeout_seconds=float(self.random.randrange(300, 7200)),
                    group="restaurant",
                )
            )
        self.record(release, outcomes)

    def run(self, release: Release, count: int) -> None:
        self.claims(self.submit(release, count))


def fill(tenant: Tenant, folder: Path, sizes: Sizes = Sizes()) -> World:
    """Fill the tenant. Return its newest rows."""
    BusyDay(tenant, folder, sizes).fill()
    admin = User.objects.get(username=f"{Role.TENANT_ADMIN.value}@{tenant.slug}")
    token, plain = issue_token(tenant, admin, "web-shop", [Scope.READ, Scope.SUBMIT], lifetime=None)
    releases = Release.objects.select_related("pipeline__tenant", "pipeline__activation", "contract")
    release = releases.get(pipeline__tenant=tenant, release_version="2.1.0")
    return World(
        tenant,
        release,
        Worker.objects.get(worker_id="payments-c"),
        Execution.objects.filter(release=release, status="QUEUED").order_by("-pk")[0],
        token,
        plain,
    )
