"""The operations of operators: policies, workers, pauses, revocations and retirements. A stranger changes nothing."""

from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st

from executions.holds import holds
from executions.lifecycle.revoked import fail_open
from executions.models import Worker
from executions.smoke_tests import smoke_tests
from executions.submission import admission
from executions.submission.resubmission import resubmit
from foundation.errors import CoordinatorError
from releases import queries
from releases.activation import policy
from releases.activation.activation import activate
from releases.activation.gradual import operations
from releases.activation.retirement import retire
from releases.activation.revocation import Order, revoke
from releases.models import Pipeline, Release
from tests import making
from tests.executions.governance.machine import ACTOR, REASON, VERSION, Machine, operation
from tests.executions.governance.running import PIPELINE

TARGET = st.sampled_from([PIPELINE, "1.0", "2.0", "3.0"])
POLICIES = [
    {"approvals": 0},
    {"approvals": 1},
    {"approvals": 2},
    {"workerGate": "require"},
    {"workerGate": "warn"},
    {"reasonRequired": True},
    {"reasonRequired": False},
    {"emergencyOverride": True},
    {"emergencyOverride": False},
    {"smokeTestHours": 24},
    {"smokeTestHours": None},
    {"skewGraceMinutes": 60},
    {"skewGraceMinutes": 0},
]


class Operators(Machine):
    """Changes what activations and submissions depend on."""

    @operation(weight=3, changes=st.sampled_from(POLICIES))
    def change_policy(self, changes: dict[str, Any]) -> None:
        policy.change(self.pipeline(), changes, actor=ACTOR)
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

    @operation(name=TARGET, reason=REASON, refuses=st.booleans())
    def pause(self, name: str, reason: str, refuses: bool) -> None:
        made = self.both(
            lambda: self.model.pause(name, reason=reason, refuses=refuses),
            lambda: holds.pause(self.target(name), actor=ACTOR, reason=reason, refuses_submissions=refuses),
        )
        assert made is None or made.hold.refuses_submissions == self.model.holds[name]

    @operation(weight=3, when=lambda self: self.model.holds, data=st.data())
    def resume(self, data: st.DataObject) -> None:
        name = data.draw(st.one_of(st.sampled_from(sorted(self.model.holds)), TARGET))
        self.both(
            lambda: self.model.resume(name),
            lambda: holds.resume(self.target(name), actor=ACTOR),
        )
        admission.cache.clear()  # an admission without its candidate, which was paused, ends with its lifetime

    @operation(
        when=lambda self: self.may_end_a_release(), version=VERSION, order=st.sampled_from(list(Order)), reason=REASON
    )
    def revoke(self, version: str, order: Order, reason: str) -> None:
        self.both(
            lambda: self.model.revoke(version, order.value, reason=reason),
            lambda: revoke(self.release(version), actor=ACTOR, reason=reason, open_executions=order),
        )
        fail_open()

    @operation(
        when=lambda self: self.may_end_a_release(), version=VERSION, reason=REASON, give_up_failures=st.booleans()
    )
    def retire(self, version: str, reason: str, give_up_failures: bool) -> None:
        self.both(
            lambda: self.model.retire(version, reason=reason, give_up_failures=give_up_failures),
            lambda: retire(self.release(version), actor=ACTOR, reason=reason, give_up_failures=give_up_failures),
        )

    @operation(version=VERSION, refuses=st.booleans())
    def stranger_acts(self, version: str, refuses: bool) -> None:
        """Another tenant pauses, changes and activates its own pipeline of the same id, and revokes its release."""
        own = self.pipeline(self.world.stranger)
        holds.pause(own, actor=ACTOR, reason="why", refuses_submissions=refuses)
        policy.change(own, {"approvals": 0, "workerGate": "off"}, actor=ACTOR)
        release = self.release(version, self.world.stranger)
        if release.status == "REGISTERED":
            activate(release, actor=ACTOR, reason="why")
            revoke(release, actor=ACTOR, reason="why", open_executions=Order.FAIL)
        fail_open()

    @operation()
    def stranger_finds_nothing(self) -> None:
        """Another tenant finds none of the executions, requests, gradual activations and smoke tests."""
        own = self.pipeline(self.world.stranger)
        if self.request_ids:
            unknown(lambda: queries.request(own, self.request_ids[-1]), "REQUEST_UNKNOWN")
        if self.gradual_ids:
            unknown(lambda: operations.one(own, self.gradual_ids[-1]), "GRADUAL_ACTIVATION_UNKNOWN")
        if self.model.runs:
            execution = self.execution(next(reversed(self.model.runs)))
            release = self.release(execution.release_version, self.world.stranger)
            again = partial(resubmit, self.world.stranger, execution.pk, actor=ACTOR, reason="why")
            unknown(again, "EXECUTION_UNKNOWN")
            unknown(lambda: smoke_tests.one(release, execution.pk), "SMOKE_TEST_UNKNOWN")

    def may_end_a_release(self) -> bool:
        """True if the history is long enough. A release ends permanently, and most operations need some."""
        ended = sum(status != "REGISTERED" for status in self.model.statuses.values())
        return len(self.model.rows) >= 2 * (ended + 1)

    def target(self, name: str) -> Pipeline | Release:
        return self.pipeline() if name == PIPELINE else self.release(name)


def unknown(call: Any, code: str) -> None:
    with pytest.raises(CoordinatorError) as caught:
        call()
    assert caught.value.code == code
