"""The operations that activate: activations, rollbacks, gradual activations."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize

from releases.activation import policy
from releases.activation.activation import activate
from releases.activation.gradual.ending import promote, withdraw
from releases.activation.gradual.plan import Plan, Step
from releases.activation.gradual.start import start
from releases.activation.gradual.steps import move_on
from releases.activation.rollback import roll_back
from tests.executions.governance.machine import ACTOR, EXPECTED, KEY, REASON, VERSION, Machine, operation
from tests.executions.governance.model import POLICY, VERSIONS

STEP = st.sampled_from([None, None, 0, 1])


class Switches(Machine):
    """Activates releases."""

    @initialize(
        versions=st.sampled_from([("1.0", "2.0"), ("1.0", "2.0"), ("1.0",), ()]),
        shares=st.sampled_from([(0.0, 50.0, 100.0), (25.0, 100.0), None]),
        approvals=st.sampled_from([0, 0, 0, 1, 2]),
        grace=st.sampled_from([0, 60]),
        more=st.sampled_from([{}, {}, {"emergencyOverride": True}, {"workerGate": "require"}, {"smokeTestHours": 24}]),
    )
    def begin(self, versions: tuple[str, ...], shares: Any, approvals: int, grace: int, more: dict[str, Any]) -> None:
        """Begin under one of several policies, with a history or without one, and often with a candidate."""
        changes = {**POLICY, "approvals": approvals, "skewGraceMinutes": grace, **more}
        for version in versions:
            self.activate(version, "begin", None, None, override=False)
        if versions and shares:
            self.start("3.0", shares, ("beta",), "begin", None, None)
        policy.change(self.pipeline(), changes, actor=ACTOR)
        self.model.policy |= changes

    @operation(
        weight=1,
        version=VERSION,
        reason=REASON,
        expected=EXPECTED,
        key=KEY,
        override=st.sampled_from([False, False, True]),
    )
    def activate(self, version: str, reason: str, expected: str | None, key: str | None, *, override: bool) -> None:
        made = self.both(
            lambda: self.model.activate(version, reason=reason, expected=expected, key=key, override=override),
            lambda: activate(
                self.release(version),
                actor=ACTOR,
                reason=reason,
                expected_release_version=expected,
                operation_key=key,
                override=override,
            ),
        )
        if made:
            self.is_row_of(made.sequence, key)

    @operation(
        weight=2,
        version=st.sampled_from([None, None, "1.0", "2.0"]),
        reason=REASON,
        expected=EXPECTED,
        key=KEY,
        recent_only=st.booleans(),
    )
    def roll_back(
        self, version: str | None, reason: str, expected: str | None, key: str | None, recent_only: bool
    ) -> None:
        made = self.both(
            lambda: self.model.roll_back(version, reason=reason, expected=expected, key=key, recent_only=recent_only),
            lambda: roll_back(
                self.pipeline(),
                actor=ACTOR,
                reason=reason,
                release=version and self.release(version),  # type: ignore[arg-type]
                recent_only=recent_only,
                expected_release_version=expected,
                operation_key=key,
            ),
        )
        if made:
            self.is_row_of(made.sequence, key)

    def is_row_of(self, sequence: int, key: str | None) -> None:
        """The result is the row with the operation key, which an earlier call may have made, or else the newest one."""
        row = self.model.row_of(key) or self.model.rows[-1]
        assert self.model.rows[sequence - 1] is row

    # --- gradual activations ---

    @operation(
        weight=3,
        when=lambda self: self.model.rows,
        candidate=st.sampled_from(VERSIONS),
        shares=st.sampled_from([(0.0, 50.0), (25.0, 50.0, 100.0), (100.0,)]),
        tags=st.sampled_from([("beta",), ("beta", "eu")]),
        reason=REASON,
        expected=EXPECTED,
        key=KEY,
    )
    def start(
        self,
        candidate: str,
        shares: tuple[float, ...],
        tags: tuple[str, ...],
        reason: str,
        expected: str | None,
        key: str | None,
    ) -> None:
        plan = Plan(tuple(Step(share, 20, 0) for share in shares), tags=tags)
        made = self.both(
            lambda: self.model.start(candidate, shares, tags, reason=reason, expected=expected, key=key),
            lambda: start(
                self.release(candidate),
                plan,
                actor=ACTOR,
                reason=reason,
                expected_release_version=expected,
                operation_key=key,
            ),
        )
        if made and len(self.gradual_ids) < len(self.model.graduals):
            self.gradual_ids.append(made.pk)

    @operation(weight=4, when=lambda self: self.gradual_ids, data=st.data(), step=STEP, expected=EXPECTED, key=KEY)
    def step(self, data: st.DataObject, step: int | None, expected: str | None, key: str | None) -> None:
        number = self.some_gradual(data)
        self.both(
            lambda: self.model.step(number, step=step, expected=expected, key=key),
            lambda: move_on(self.gradual(number), expected_step=step, **members(expected, key)),
        )

    @operation(weight=3, when=lambda self: self.gradual_ids, data=st.data(), reason=REASON, expected=EXPECTED, key=KEY)
    def promote(self, data: st.DataObject, reason: str, expected: str | None, key: str | None) -> None:
        number = self.some_gradual(data)
        self.both(
            lambda: self.model.promote(number, reason=reason, expected=expected, key=key),
            lambda: promote(self.gradual(number), reason=reason, **members(expected, key)),
        )

    @operation(
        weight=1,
        when=lambda self: self.gradual_ids,
        data=st.data(),
        reason=REASON,
        step=STEP,
        expected=EXPECTED,
        key=KEY,
    )
    def withdraw(
        self, data: st.DataObject, reason: str, step: int | None, expected: str | None, key: str | None
    ) -> None:
        number = self.some_gradual(data)
        self.both(
            lambda: self.model.withdraw(number, reason=reason, step=step, expected=expected, key=key),
            lambda: withdraw(self.gradual(number), reason=reason, expected_step=step, **members(expected, key)),
        )

    def some_gradual(self, data: st.DataObject) -> int:
        """Choose the newest gradual activation, or any."""
        newest = len(self.gradual_ids) - 1
        return data.draw(st.one_of(st.just(newest), st.just(newest), st.integers(0, newest)))


def members(expected: str | None, key: str | None) -> dict[str, Any]:
    return {"actor": ACTOR, "expected_release_version": expected, "operation_key": key}
