"""The product next to its model: what the operations share, and the comparison after each of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from executions.models import Execution, Hold
from executions.submission import admission
from executions.submission.submission import submit
from foundation.errors import CoordinatorError
from releases import queries
from releases.activation.blockers import blockers
from releases.activation.gradual import operations
from releases.models import Activation, ActivationRequest, GradualActivation, Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.executions.governance.model import Refused
from tests.executions.governance.running import PIPELINE, Model
from tests.raw_sql import run

ACTOR = "user:test"
VERSION = st.sampled_from(["1.0", "1.0", "2.0", "2.0", "3.0", "4.0"])
# Most arguments are valid, so that most operations change something.
REASON = st.sampled_from(["why"] * 7 + [""])
KEY = st.sampled_from([None] * 7 + ["op-0", "op-1"])
EXPECTED = st.sampled_from([None] * 7 + ["", "1.0", "2.0"])


@dataclass(frozen=True)
class Operation:
    """How an operation is chosen, and the strategies of its arguments."""

    weight: int
    when: Callable[[Any], Any]
    arguments: dict[str, Any]


def operation(
    *, weight: int = 1, when: Callable[[Any], Any] = lambda _: True, **arguments: Any
) -> Callable[[Any], Any]:
    """Mark a method that is applied `weight` times as often as others, while `when` is true of the machine."""

    def marked(method: Any) -> Any:
        method.operation = Operation(weight, when, arguments)
        return method

    return marked


@dataclass(frozen=True)
class World:
    """The initial rows: two tenants with releases of the same versions, and people of the first one."""

    owner: Tenant
    stranger: Tenant
    people: dict[str, User]


class Machine(RuleBasedStateMachine):
    """Compares the rows with the model after each operation. Each run is rolled back at its end."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.block = transaction.atomic()
        self.block.__enter__()
        self.model = Model()
        self.gradual_ids: list[UUID] = []
        self.request_ids: list[UUID] = []
        self.count = 0
        self.pinned: dict[str, int] = {}
        admission.cache.clear()

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        """Apply one operation. As rules, most of them would be switched off in each run, so that no run got far."""
        methods = (getattr(type(self), name) for name in sorted(dir(type(self))))
        known = {each.__name__: each.operation for each in methods if hasattr(each, "operation")}
        names = [name for name, each in known.items() if each.when(self) for _ in range(each.weight)]
        name = data.draw(st.sampled_from(names), label="operation")
        arguments = {key: data.draw(each, label=key) for key, each in known[name].arguments.items()}
        getattr(self, name)(**arguments)

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    @invariant()
    def histories_match(self) -> None:
        """The sequence has no gap, each row names what it replaces, and the pointer is the newest row."""
        rows = Activation.objects.filter(pipeline__tenant=self.world.owner).order_by("sequence")
        found = [
            (
                *(row.sequence, row.kind, row.release.release_version, row.operation_key, row.override),
                row.previous and row.previous.release_version,
                row.candidate and row.candidate.release_version,
                None if row.share is None else float(row.share),
                row.gradual_id and self.gradual_ids.index(row.gradual_id),
                row.request_id and self.request_ids.index(row.request_id),
            )
            for row in rows.select_related("release", "previous", "candidate")
        ]
        expected = [
            (
                *(sequence, row.kind, row.release, row.key, row.override),
                *(row.previous, row.candidate, row.share, row.gradual, row.request),
            )
            for sequence, row in enumerate(self.model.rows, 1)
        ]
        assert found == expected
        newest = Pipeline.objects.get(tenant=self.world.owner).activation
        assert (newest and newest.sequence) == (len(expected) or None)

    @invariant()
    def gradual_activations_match(self) -> None:
        rows = GradualActivation.objects.filter(pipeline__tenant=self.world.owner)
        found = {
            row.pk: (row.baseline.release_version, row.candidate.release_version, row.step, row.status, row.cause)
            for row in rows.select_related("baseline", "candidate")
        }
        assert [found.pop(key) for key in self.gradual_ids] == [
            (each.baseline, each.candidate, each.step, each.status, each.cause) for each in self.model.graduals
        ]
        assert not found

    @invariant()
    def requests_match(self) -> None:
        rows = ActivationRequest.objects.filter(pipeline__tenant=self.world.owner).select_related("release")
        found = {row.pk: row for row in rows}
        assert len(found) == len(self.request_ids)
        for key, model in zip(self.request_ids, self.model.requests, strict=True):
            row = found[key]
            assert (row.release.release_version, row.status, row.round) == (model.release, model.status, model.round)
            assert row.code in (model.codes or {""})

    @invariant()
    def releases_and_pauses_match(self) -> None:
        rows = Release.objects.filter(pipeline__tenant=self.world.owner)
        assert dict(rows.values_list("release_version", "status")) == self.model.statuses
        holds = Hold.objects.filter(tenant=self.world.owner, ended_at=None)
        found = holds.values_list("release__release_version", "refuses_submissions")
        assert {version or PIPELINE: refuses for version, refuses in found} == self.model.holds

    @invariant()
    def executions_match(self) -> None:
        rows = Execution.objects.filter(tenant=self.world.owner)
        found = rows.values_list("execution_key", "release_version", "status", "smoke")
        expected = [(key, run.release, run.status, run.smoke) for key, run in self.model.runs.items()]
        assert Counter(found) == Counter(expected)

    @invariant()
    def nothing_is_pinned_to_a_release_that_has_ended(self) -> None:
        """A release that is revoked or retired gets no further execution."""
        ended = [version for version, status in self.model.statuses.items() if status != "REGISTERED"]
        for version in ended:
            count = Execution.objects.filter(tenant=self.world.owner, release_version=version).count()
            assert self.pinned.setdefault(version, count) == count

    @invariant()
    def the_next_submission_gets_its_release(self) -> None:
        """Submit without a wish, compare, and undo both."""
        with transaction.atomic():
            made = self.both(
                lambda: self.model.submit("probe", 1),
                lambda: submit(
                    self.world.owner,
                    pipeline_id=making.PIPELINE,
                    input={"n": 1},
                    idempotency_key="probe",
                    actor=ACTOR,
                    expected_release_version=self.model.active,
                ),
            )
            if made:
                assert made.release_version == self.model.runs.pop("probe").release
            transaction.set_rollback(True)

    @invariant()
    def deferred_checks_pass(self) -> None:
        """What the database checks at a commit holds after each operation."""
        run("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")

    @invariant()
    def blockers_match(self) -> None:
        version = min(self.model.statuses, key=lambda each: (self.model.statuses[each] != "REGISTERED", each))
        found = {each.kind.value: each.count for each in blockers(self.release(version))}
        assert found == self.model.blockers(version)

    # --- for the operations ---

    def both(self, model: Callable[[], Any], product: Callable[[], Any]) -> Any:
        """Apply an operation to both. Return the result of the product, or None if both refuse it."""
        codes = set()
        try:
            model()
        except Refused as refusal:
            codes = refusal.codes
        if not codes:
            return product()
        with pytest.raises(CoordinatorError) as caught:
            product()
        assert caught.value.code in codes, caught.value
        return None

    def number(self) -> int:
        """Return a number that no earlier call has returned."""
        self.count += 1
        return self.count

    def pipeline(self, owner: Tenant | None = None) -> Pipeline:
        return queries.pipeline(owner or self.world.owner, making.PIPELINE)

    def release(self, version: str, owner: Tenant | None = None) -> Release:
        return queries.release(self.pipeline(owner), version)

    def execution(self, key: str) -> Execution:
        return Execution.objects.get(tenant=self.world.owner, execution_key=key)

    def request(self, number: int) -> ActivationRequest:
        return queries.request(self.pipeline(), self.request_ids[number])

    def gradual(self, number: int) -> GradualActivation:
        return operations.one(self.pipeline(), self.gradual_ids[number])
