"""The operations of clients and operators: submit, answer, re-drive and cancel."""

import uuid
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import Execution, Interaction
from executions.submission.submission import submit
from releases.activation.activation import activate
from tests import making
from tests.executions.model.machine import Machine
from tests.executions.model.model import OVER, Model


class People(Machine):
    """Submits executions, answers their questions, re-drives and cancels them."""

    @initialize()
    def begin(self) -> None:
        self.submit(key=0, value=0, release=0)
        self.submit(key=1, value=0, release=0)

    @rule(key=st.integers(0, 3), value=st.integers(0, 1), release=st.integers(0, 1))
    def submit(self, key: int, value: int, release: int) -> None:
        """An execution is pinned to the active release. A repeated key returns the first execution."""
        if self.active != self.world.releases[release]:
            self.active = self.world.releases[release]
            activate(self.active, actor="user:test", reason="a change")

        def request() -> Any:
            return submit(
                self.world.owner,
                pipeline_id=making.PIPELINE,
                input={"n": value},
                idempotency_key=f"key-{key}",
                actor="token:test",
            )

        first = Execution.objects.filter(tenant=self.world.owner, execution_key=f"key-{key}").first()
        if first is not None and first.input != {"n": value}:
            self.refused(request, "IDEMPOTENCY_KEY_REUSED")
            return
        made = request()
        assert made.duplicate == (first is not None)
        if first is None:
            self.models[made.execution.pk] = Model(pin=self.active.release_version)
        else:
            assert made.execution.pk == first.pk

    @precondition(lambda self: self.known_interactions())
    @rule(data=st.data(), value=st.integers(1, 9))
    def answer_interaction(self, data: st.DataObject, value: int) -> None:
        execution_id, unit_id, one = data.draw(st.sampled_from(self.known_interactions()))
        model = self.models[execution_id]
        unit = model.units[unit_id]
        first = unit.answers[one]
        if first is None and unit.status != "WAITING_EXTERNAL":
            late = Interaction.objects.get(pk=one).status == "TIMED_OUT"
            assert not late or unit.status == "TIMED_OUT"
            self.refused(lambda: self.complete(one, value), "AWAIT_TIMEOUT" if late else "INTERACTION_CLOSED")
            return
        done = self.complete(one, value)
        assert done.duplicate == (first is not None)
        assert done.interaction.response == (value if first is None else first)
        if first is None:
            model.answered(one, value)

    @rule(data=st.data(), allow_failed=st.booleans(), stale=st.booleans())
    def redrive(self, data: st.DataObject, allow_failed: bool, stale: bool) -> None:
        chosen = self.choose(data, "DLQ", "FAILED", *([] if self.some("DLQ", "FAILED") else self.states()))
        model = self.models[chosen]

        def request() -> Any:
            version = model.version - stale
            more: dict[str, Any] = {"expected_version": version, "allow_failed": allow_failed}
            return redrive(self.world.owner, chosen, actor="user:eva", reason="fixed", **more)

        if model.state != "DLQ" and not (allow_failed and model.state == "FAILED"):
            self.refused(request, "REDRIVE_REFUSED")
        elif stale:
            self.refused(request, "VERSION_MISMATCH")
        else:
            assert request().previous_status == model.state
            model.redriven()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(list(self.models)))
        model = self.models[chosen]

        def request() -> Any:
            return cancel(self.world.owner, chosen, actor="user:eva", reason="a mistake")

        if model.state in OVER - {"CANCELLED"}:
            self.refused(request, "CANCEL_REFUSED")
            return
        request()
        if model.state != "CANCELLED":
            model.cancelled()

    def known_interactions(self) -> list[tuple[uuid.UUID, uuid.UUID, uuid.UUID]]:
        return [
            (key, unit_id, one)
            for key, model in self.models.items()
            for unit_id, unit in model.units.items()
            for one in unit.answers
        ]
