"""The product next to its model: the operations, and the comparison after each of them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from executions.holds import holds
from executions.lifecycle.revoked import fail_open
from executions.models import Execution, Hold, Worker
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError
from releases import queries
from releases.activation import policy
from releases.activation.activation import activate
from releases.activation.blockers import blockers
from releases.activation.gradual import operations
from releases.activation.gradual.ending import promote, withdraw
from releases.activation.gradual.plan import Plan, Step
from releases.activation.gradual.start import start
from releases.activation.gradual.steps import move_on
from releases.activation.requests import requests
from releases.activation.requests.carrying_out import carry_out_due
from releases.activation.requests.votes import vote
from releases.activation.retirement import retire
from releases.activation.revocation import Order, revoke
from releases.activation.rollback import roll_back
from releases.models import Activation, ActivationRequest, GradualActivation, Pipeline, Release, Vote
from tenancy.models import Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.executions.governance.model import PIPELINE, POLICY, VERSIONS, Model, Refused
from tests.raw_sql import run, unguarded

BY: dict[str, Any] = {"actor": "user:test", "reason": "why"}
VERSION = st.sampled_from(["1.0", "1.0", "2.0", "2.0", "3.0", "4.0"])
PERSON = st.sampled_from(["ann", "bob", "cleo"])
TARGET = st.sampled_from([PIPELINE, "1.0", "2.0", "3.0"])
POLICIES = [
    *({"approvals": count} for count in (0, 1, 2)),
    *({"workerGate": gate} for gate in ("require", "warn")),
    *({"emergencyOverride": allowed} for allowed in (True, False)),
    *({"skewGraceMinutes": minutes} for minutes in (60, 0)),
]
TIMES = {
    "releases_activation": "activated_at",
    "releases_activationrequest": "created_at expires_at activate_at status_changed_at",
    "executions_execution": "finished_at",
}


def operation(
    weight: int = 1, *, when: Callable[[Any], Any] = lambda _: True, **arguments: Any
) -> Callable[[Any], Any]:
    """Mark a method that is applied `weight` times as often as others, while `when` is true of the machine."""

    def marked(method: Any) -> Any:
        method.operation = weight, when, arguments
        return method

    return marked


@dataclass(frozen=True)
class World:
    """The initial rows: a tenant with four releases, and its people."""

    owner: Tenant
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
        self.pinned: dict[str, int] = {}
        admission.cache.clear()

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    @initialize(
        versions=st.sampled_from([("1.0", "2.0"), ("1.0", "2.0"), ("1.0",), ()]),
        shares=st.sampled_from([(0.0, 50.0, 100.0), (25.0, 100.0), None]),
        approvals=st.sampled_from([0, 0, 0, 1, 2]),
        more=st.sampled_from([{}, {"skewGraceMinutes": 60}, {"emergencyOverride": True}, {"workerGate": "require"}]),
    )
    def begin(self, versions: tuple[str, ...], shares: Any, approvals: int, more: dict[str, Any]) -> None:
        """Begin under one of several policies, with a history or without one, and often with a candidate."""
        for version in versions:
            self.activate(version, override=False)
        if versions and shares:
            self.start("3.0", shares, ("beta",))
        self.change_policy({**POLICY, "approvals": approvals, **more})

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        """Apply one operation. As rules, most of them would be switched off in each run, so that no run got far."""
        methods = (getattr(type(self), name) for name in sorted(dir(type(self))))
        known = {each.__name__: each.operation for each in methods if hasattr(each, "operation")}
        names = [name for name, (weight, when, _) in known.items() if when(self) for _ in range(weight)]
        name = data.draw(st.sampled_from(names), label="operation")
        arguments = {key: data.draw(each, label=key) for key, each in known[name][2].items()}
        getattr(self, name)(**arguments)

    # --- the comparison ---

    @invariant()
    def histories_match(self) -> None:
        """The sequence has no gap, each row names what it replaces, and the pointer is the newest row."""
        rows = Activation.objects.filter(pipeline__tenant=self.world.owner).order_by("sequence")
        found = [
            (
                *(row.sequence, row.kind, row.release.release_version, row.override),
                row.previous and row.previous.release_version,
                row.candidate and row.candidate.release_version,
                None if row.share is None else float(row.share),
                row.gradual_id and self.gradual_ids.index(row.gradual_id),
                row.request_id and self.request_ids.index(row.request_id),
            )
            for row in rows.select_related("release", "previous", "candidate")
        ]
        assert found == [
            (
                *(sequence, row.kind, row.release, row.override),
                *(row.previous, row.candidate, row.share, row.gradual, row.request),
            )
            for sequence, row in enumerate(self.model.rows, 1)
        ]
        newest = Pipeline.objects.get(tenant=self.world.owner).activation
        assert (newest and newest.sequence) == (len(found) or None)

    @invariant()
    def gradual_activations_match(self) -> None:
        rows = GradualActivation.objects.filter(pipeline__tenant=self.world.owner)
        found = {
            row.pk: (row.baseline.release_version, row.candidate.release_version, row.step, row.status, row.cause)
            for row in rows.select_related("baseline", "candidate")
        }
        assert found == {
            key: (each.baseline, each.candidate, each.step, each.status, each.cause)
            for key, each in zip(self.gradual_ids, self.model.graduals, strict=True)
        }

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
        found = Hold.objects.filter(tenant=self.world.owner, ended_at=None)
        pauses = found.values_list("release__release_version", "refuses_submissions")
        assert {version or PIPELINE: refuses for version, refuses in pauses} == self.model.holds

    @invariant()
    def executions_match(self) -> None:
        """A release that is revoked or retired gets no further execution."""
        rows = Execution.objects.filter(tenant=self.world.owner)
        found = rows.values_list("execution_key", "release_version", "status")
        assert Counter(found) == Counter((key, each.release, each.status) for key, each in self.model.runs.items())
        for version, status in self.model.statuses.items():
            if status != "REGISTERED":
                count = rows.filter(release_version=version).count()
                assert self.pinned.setdefault(version, count) == count

    @invariant()
    def the_next_submission_gets_its_release(self) -> None:
        """Submit without a wish, compare, and undo both. The database runs the checks of a commit."""
        with transaction.atomic():
            self.send("probe")
            self.model.runs.pop("probe", None)
            run("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
            transaction.set_rollback(True)

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

    def pipeline(self) -> Pipeline:
        return queries.pipeline(self.world.owner, making.PIPELINE)

    def release(self, version: str) -> Release:
        return queries.release(self.pipeline(), version)

    def target(self, name: str) -> Pipeline | Release:
        return self.pipeline() if name == PIPELINE else self.release(name)

    # --- activations ---

    @operation(2, version=VERSION, override=st.sampled_from([False, False, True]))
    def activate(self, version: str, *, override: bool) -> None:
        self.both(
            lambda: self.model.activate(version, override=override),
            lambda: activate(self.release(version), override=override, **BY),
        )

    @operation(2, version=st.sampled_from([None, None, "1.0", "2.0"]), recent_only=st.booleans())
    def roll_back(self, version: str | None, recent_only: bool) -> None:
        release = self.release(version) if version else None
        self.both(
            lambda: self.model.roll_back(version, recent_only=recent_only),
            lambda: roll_back(self.pipeline(), release=release, recent_only=recent_only, **BY),
        )

    @operation(
        3,
        when=lambda self: self.model.rows,
        candidate=st.sampled_from(VERSIONS),
        shares=st.sampled_from([(0.0, 50.0), (25.0, 50.0, 100.0), (100.0,)]),
        tags=st.sampled_from([("beta",), ("beta", "eu")]),
    )
    def start(self, candidate: str, shares: tuple[float, ...], tags: tuple[str, ...]) -> None:
        plan = Plan(tuple(Step(share, 20, 0) for share in shares), tags=tags)
        made = self.both(
            lambda: self.model.start(candidate, shares, tags), lambda: start(self.release(candidate), plan, **BY)
        )
        if made:
            self.gradual_ids.append(made.pk)

    @operation(
        8,
        when=lambda self: self.gradual_ids,
        back=st.sampled_from([0, 0, 0, 1]),
        act=st.sampled_from(["step", "step", "promote", "promote", "withdraw"]),
    )
    def change_gradual(self, back: int, act: str) -> None:
        """Change the newest gradual activation, or an earlier one."""
        number = max(len(self.gradual_ids) - 1 - back, 0)
        changes: dict[str, Any] = {"step": move_on, "promote": promote, "withdraw": withdraw}
        by = {"actor": BY["actor"]} if act == "step" else BY
        made = operations.one(self.pipeline(), self.gradual_ids[number])
        self.both(lambda: getattr(self.model, act)(number), lambda: changes[act](made, **by))

    # --- requests ---

    @operation(3, version=VERSION, person=PERSON, hours=st.sampled_from([None, 1, 2, 30]))
    def ask(self, version: str, person: str, hours: int | None) -> None:
        delay = None if hours is None else hours + len(self.request_ids) / 3600
        made = self.both(
            lambda: self.model.ask(version, person, due=None if delay is None else self.model.now + delay),
            lambda: requests.ask(
                self.release(version),
                requester=self.world.people[person],
                activate_at=None if delay is None else datetime.now(UTC) + timedelta(hours=delay),
                **BY,
            ),
        )
        if made:
            self.request_ids.append(made.pk)

    def request(self, back: int) -> tuple[int, ActivationRequest]:
        """Return the newest request, or an earlier one, and its number."""
        number = max(len(self.request_ids) - 1 - back, 0)
        return number, queries.request(self.pipeline(), self.request_ids[number])

    @operation(
        4,
        when=lambda self: self.request_ids,
        back=st.sampled_from([0, 0, 0, 1]),
        voter=PERSON,
        decision=st.sampled_from([*[Vote.Decision.APPROVE] * 3, Vote.Decision.REFUSE]),
        is_stale=st.sampled_from([False, False, False, True]),
    )
    def vote(self, back: int, voter: str, decision: Vote.Decision, is_stale: bool) -> None:
        number, row = self.request(back)
        model = self.model.requests[number]
        round_number = model.round - is_stale
        by = {"voter": self.world.people[voter], "actor": f"user:{voter}"}
        self.both(
            lambda: self.model.vote(model, voter, decision.value, round_number),
            lambda: vote(row, decision=decision, round_number=round_number, **by),  # type: ignore[arg-type]
        )

    @operation(when=lambda self: self.request_ids, back=st.integers(0, 1))
    def withdraw_request(self, back: int) -> None:
        number, row = self.request(back)
        model = self.model.requests[number]
        self.both(lambda: self.model.withdraw_request(model), lambda: requests.withdraw(row, **BY))

    @operation(person=PERSON)
    def leave_or_return(self, person: str) -> None:
        """Take the right to activate away from a person, or give it back."""
        self.model.absent ^= {person}
        role = Role.VIEWER if person in self.model.absent else Role.RELEASE_MANAGER
        Membership.objects.filter(user=self.world.people[person], tenant=self.world.owner).update(role=role)

    @operation()
    def clock(self) -> None:
        assert (requests.expire(), carry_out_due()) == self.model.clock()

    @operation(hours=st.sampled_from([2, 2, 25, 40 * 24]))
    def time_passes(self, hours: int) -> None:
        """Make everything older that has a time in the policy."""
        with unguarded(Activation), unguarded(ActivationRequest), unguarded(Execution):
            for table, columns in TIMES.items():
                for column in columns.split():
                    run(f"UPDATE {table} SET {column} = {column} - %s", timedelta(hours=hours))
        self.model.now += hours

    # --- operators ---

    @operation(3, changes=st.sampled_from(POLICIES))
    def change_policy(self, changes: dict[str, Any]) -> None:
        policy.change(self.pipeline(), changes, actor=BY["actor"])
        self.model.policy |= changes

    @operation(version=VERSION)
    def start_or_stop_worker(self, version: str) -> None:
        self.model.workers[version] ^= True
        rows = Worker.objects.filter(tenant=self.world.owner, release_version=version)
        if self.model.workers[version]:
            rows.update(alive_until=None)
        else:
            making.silence(*rows)
        admission.cache.clear()  # otherwise it ends with its lifetime

    @operation(target=TARGET, refuses=st.booleans())
    def pause(self, target: str, refuses: bool) -> None:
        self.model.holds.setdefault(target, refuses)
        made = holds.pause(self.target(target), refuses_submissions=refuses, **BY)
        assert made.hold.refuses_submissions == self.model.holds[target]

    @operation(3, when=lambda self: self.model.holds, target=TARGET, is_paused=st.booleans())
    def resume(self, target: str, is_paused: bool) -> None:
        target = min(self.model.holds) if is_paused else target
        self.both(lambda: self.model.resume(target), lambda: holds.resume(self.target(target), actor=BY["actor"]))
        admission.cache.clear()  # an admission without its candidate, which was paused, ends with its lifetime

    def may_end_a_release(self) -> bool:
        """True if the history is long enough. A release ends permanently, and most operations need some."""
        ended = sum(status != "REGISTERED" for status in self.model.statuses.values())
        return len(self.model.rows) >= 2 * (ended + 1)

    @operation(when=may_end_a_release, version=VERSION, order=st.sampled_from(list(Order)))
    def revoke(self, version: str, order: Order) -> None:
        self.both(
            lambda: self.model.revoke(version, order.value),
            lambda: revoke(self.release(version), open_executions=order, **BY),
        )
        fail_open()

    @operation(when=may_end_a_release, version=VERSION, give_up=st.booleans())
    def retire(self, version: str, give_up: bool) -> None:
        self.both(
            lambda: self.model.retire(version, give_up_failures=give_up),
            lambda: retire(self.release(version), give_up_failures=give_up, **BY),
        )

    # --- callers and workers ---

    @operation(
        4,
        tags=st.sampled_from([(), (), ("beta",), ("eu", "other")]),
        is_early=st.booleans(),
        named=st.none() | st.none() | VERSION,
    )
    def submit(self, tags: tuple[str, ...], is_early: bool, named: str | None) -> None:
        self.send(f"key-{len(self.model.runs)}", tags, is_early, named)

    def send(self, key: str, tags: tuple[str, ...] = (), is_early: bool = False, named: str | None = None) -> None:
        is_early, routing_key = self.routing(is_early)
        wishes: dict[str, Any] = {"release_version": named, "routing_key": routing_key, "tags": tags}
        request = ExecutionRequest(making.PIPELINE, {"n": 1}, key, **wishes)
        made = self.both(
            lambda: self.model.submit(key, tags=tags, is_early=is_early, named=named),
            lambda: accepted(submit_many(self.world.owner, [request], actor="token:test")),
        )
        assert made is None or made.release_version == self.model.runs[key].release

    def routing(self, is_early: bool) -> tuple[bool, str]:
        """Return whether a routing key exists that the candidate gets, or else does not get, and such a key."""
        running = self.model.running
        share = running.shares[running.step] if running else 0.0
        is_early = share == 100 or (is_early and share > 0)
        gradual_id = str(self.gradual_ids[-1]) if running else ""
        numbers = (f"customer-{number}" for number in range(10_000))
        return is_early, next(key for key in numbers if takes(gradual_id, share, key) == is_early)

    @operation(3, fails=st.booleans())
    def run_all(self, fails: bool) -> None:
        """Claim everything that is due, and report the same outcome of all of it."""
        due = self.model.due()
        groups = defaultdict(list)
        claims = making.claimed(self.world.owner)
        keys = dict(Execution.objects.filter(execution_key__in=due).values_list("pk", "execution_key"))
        assert {claim.execution_id for claim in claims} == keys.keys()
        for claim in claims:
            one = due[keys[claim.execution_id]]
            assert claim.release_version == one.release
            one.status = "FAILED" if fails else "SUCCEEDED"
            outcome = making.failure(claim, retryable=False) if fails else making.outcome_of(claim)
            groups[claim.release_version].append(outcome)
        for outcomes in groups.values():
            assert making.record(*outcomes) == len(outcomes)


def takes(gradual_id: str, share: float, key: str) -> bool:
    """Return whether a candidate with this share gets the executions of a routing key."""
    digest = hashlib.sha256(f"{gradual_id}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10_000 < share * 100


def accepted(verdicts: list[Submission | CoordinatorError]) -> Submission:
    [verdict] = verdicts
    if isinstance(verdict, CoordinatorError):
        raise verdict
    return verdict
