"""The operations of time: a delay, a lease or a deadline ends, and a sweep finds it."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from executions.awaits import awaits
from executions.lifecycle import sweep
from tests.executions.model.machine import Machine
from tests.raw_sql import run


class Clock(Machine):
    """Ends delays, leases and deadlines."""

    @precondition(lambda self: self.some("WAIT_RETRY"))
    @rule(data=st.data())
    def wait_is_over(self, data: st.DataObject) -> None:
        chosen = self.choose(data, "WAIT_RETRY")
        run("UPDATE executions_execution SET next_due_at = now() WHERE id = %s", chosen)
        self.models[chosen].due = True

    @precondition(lambda self: self.some("RUNNING"))
    @rule(data=st.data())
    def lease_expires(self, data: st.DataObject) -> None:
        lost = {self.choose(data, "RUNNING"), self.choose(data, "RUNNING")}
        sql = "UPDATE executions_execution SET lease_expires_at = now() - interval '1 second' WHERE id = ANY(%s)"
        run(sql, list(lost))
        assert sweep.expire_leases() == len(lost)
        assert sweep.expire_leases() == 0
        for each in lost:
            self.models[each].lost_lease()

    @precondition(lambda self: self.some("WAITING_EXTERNAL"))
    @rule(data=st.data(), swept=st.booleans())
    def deadline_passes(self, data: st.DataObject, swept: bool) -> None:
        """The sweep or a late answer detects the passed deadline, with the same result."""
        chosen = self.choose(data, "WAITING_EXTERNAL")
        model = self.models[chosen]
        assert model.unit is not None
        answers = self.models[chosen].units[model.unit].answers
        open_one = next(key for key, answer in answers.items() if answer is None)
        late = "UPDATE executions_interaction SET deadline = now() - interval '1 second' WHERE id = %s"
        run(late, open_one)
        if swept:
            assert (awaits.expire(), awaits.expire()) == (1, 0)
        else:
            self.refused(lambda: self.complete(open_one, {"late": True}), "AWAIT_TIMEOUT")
        model.timed_out()
