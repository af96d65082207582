"""The operations on activation requests, and the time that passes for them."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from executions.models import Execution
from releases.activation.requests import requests
from releases.activation.requests.carrying_out import carry_out_due
from releases.activation.requests.votes import vote
from releases.models import Activation, ActivationRequest, Vote
from tenancy.models import Membership
from tenancy.roles import Role
from tests.executions.governance.machine import EXPECTED, KEY, REASON, VERSION, Machine, operation
from tests.raw_sql import run, unguarded

PERSON = st.sampled_from(["ann", "bob", "cleo"])


class Approvals(Machine):
    """Requests activations, votes, and lets the clock carry them out."""

    @operation(weight=3, version=VERSION, person=PERSON, reason=REASON, later=st.booleans(), expected=EXPECTED, key=KEY)
    def ask(self, version: str, person: str, reason: str, later: bool, expected: str | None, key: str | None) -> None:
        delay = 1 + self.number() / 3600 if later else None
        made = self.both(
            lambda: self.model.ask(
                version,
                person,
                reason=reason,
                due=None if delay is None else self.model.now + delay,
                expected=expected,
                key=key,
            ),
            lambda: requests.ask(
                self.release(version),
                requester=self.world.people[person],
                actor=f"user:{person}",
                reason=reason,
                activate_at=None if delay is None else datetime.now(UTC) + timedelta(hours=delay),
                expected_release_version=expected,
                operation_key=key,
            ),
        )
        if made and len(self.request_ids) < len(self.model.requests):
            self.request_ids.append(made.pk)

    @operation(
        weight=4,
        when=lambda self: self.request_ids,
        data=st.data(),
        voter=PERSON,
        decision=st.sampled_from([*[Vote.Decision.APPROVE] * 3, Vote.Decision.REFUSE]),
        is_stale=st.sampled_from([False, False, False, True]),
    )
    def vote(self, data: st.DataObject, voter: str, decision: Vote.Decision, is_stale: bool) -> None:
        number = self.some_request(data)
        request = self.model.requests[number]
        round_number = request.round - is_stale
        self.both(
            lambda: self.model.vote(request, voter, decision.value, round_number),
            lambda: vote(
                self.request(number),
                voter=self.world.people[voter],
                actor=f"user:{voter}",
                decision=decision,
                round_number=round_number,
            ),
        )

    @operation(when=lambda self: self.request_ids, data=st.data(), reason=REASON)
    def withdraw_request(self, data: st.DataObject, reason: str) -> None:
        number = self.some_request(data)
        self.both(
            lambda: self.model.withdraw_request(self.model.requests[number], reason=reason),
            lambda: requests.withdraw(self.request(number), actor="user:ann", reason=reason),
        )

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
                changes = ", ".join(f"{column} = {column} - %(time)s::interval" for column in columns.split())
                run_named(f"UPDATE {table} SET {changes}", timedelta(hours=hours))
        self.model.now += hours

    def some_request(self, data: st.DataObject) -> int:
        """Choose the newest request, or any."""
        newest = len(self.request_ids) - 1
        return data.draw(st.one_of(st.just(newest), st.just(newest), st.integers(0, newest)))


TIMES = {
    "releases_activation": "activated_at",
    "releases_activationrequest": "created_at expires_at activate_at status_changed_at",
    "executions_execution": "finished_at",
}


def run_named(sql: str, time: timedelta) -> None:
    count = sql.count("%(time)s")
    run(sql.replace("%(time)s", "%s"), *[time] * count)
