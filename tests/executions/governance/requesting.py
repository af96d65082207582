"""The part of the model that asks for approvals and carries out requests at their time."""

from dataclasses import dataclass, field
from typing import Any

from tests.executions.governance.model import Refused, refusals
from tests.executions.governance.switching import Switching

VOTING_HOURS = 72
UNDECIDED = {"OPEN", "APPROVED"}


@dataclass
class Request:
    """A request to activate a release. `base` is the length of the history that it was made on."""

    release: str
    requester: str
    base: int
    policy: dict[str, Any]
    expires: float
    due: float | None
    key: str | None
    status: str
    round: int = 1
    codes: set[str] = field(default_factory=set)
    """Why it FAILED: one of these."""
    votes: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def approvals(self) -> int:
        return sum(key[0] == self.round and vote == "approve" for key, vote in self.votes.items())


@dataclass
class Requesting(Switching):
    """Requests and votes. `absent` are the people who no longer may activate."""

    requests: list[Request] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)

    def ask(
        self,
        version: str,
        requester: str,
        *,
        reason: str,
        due: float | None,
        expected: str | None,
        key: str | None,
    ) -> Request:
        if not reason:
            raise Refused("REASON_REQUIRED")
        earlier = next((each for each in self.requests if key is not None and each.key == key), None)
        if earlier:
            if earlier.release != version:
                raise Refused("OPERATION_KEY_REUSED")
            return self.carried_out(earlier)
        with refusals() as found:
            found.update(self.require_registered(version), self.require_expected(expected))
        expires = self.now + VOTING_HOURS
        request = Request(
            version,
            requester,
            len(self.rows),
            dict(self.policy),
            expires=expires if due is None else min(expires, due),
            due=due,
            key=key,
            status="OPEN" if self.policy["approvals"] else "APPROVED",
        )
        self.requests.append(request)
        return self.carried_out(request)

    def vote(self, request: Request, voter: str, decision: str, round_number: int) -> Request:
        if voter == request.requester:
            raise Refused("OWN_REQUEST")
        earlier = request.votes.get((round_number, voter))
        if earlier is None:
            self._count(request, voter, decision, round_number)
        elif earlier != decision:
            raise Refused("ALREADY_VOTED")
        return self.carried_out(request)

    def _count(self, request: Request, voter: str, decision: str, round_number: int) -> None:
        if request.status == "OPEN" and request.expires <= self.now:
            request.status = "EXPIRED"
        if request.status != "OPEN":
            raise Refused("REQUEST_NOT_OPEN")
        if self.has_moved(request):
            request.base, request.policy, request.round = len(self.rows), dict(self.policy), request.round + 1
            raise Refused("REQUEST_RESTARTED")
        if round_number != request.round:
            raise Refused("REQUEST_RESTARTED")
        request.votes[round_number, voter] = decision
        if decision == "refuse":
            request.status = "REFUSED"
        elif request.approvals >= max(1, request.policy["approvals"]):
            request.status = "APPROVED"

    def has_moved(self, request: Request) -> bool:
        return (request.base, request.policy) != (len(self.rows), self.policy)

    def withdraw_request(self, request: Request, *, reason: str) -> Request:
        if not reason:
            raise Refused("REASON_REQUIRED")
        if request.status not in {*UNDECIDED, "WITHDRAWN"}:
            raise Refused("REQUEST_NOT_OPEN")
        request.status = "WITHDRAWN"
        return request

    def carried_out(self, request: Request) -> Request:
        """Activate the release of an approved request whose time has come, or say why not."""
        if request.status != "APPROVED" or (request.due is not None and request.due > self.now):
            return request
        kind = self.kind_of(request.release)
        codes = set(self.gates(request.release, kind, approved=True))
        if request.requester in self.absent:
            codes.add("SCOPE_MISSING")
        if self.has_moved(request):
            codes.add("REQUEST_OUTDATED")
        if codes:
            request.status, request.codes = "FAILED", codes
        else:
            self.activated(request.release, kind, request=self.requests.index(request))
            request.status = "ACTIVATED"
        return request

    def clock(self) -> tuple[int, int]:
        """Expire requests, and carry out those whose time has come. Return how many were expired and activated."""
        late = [each for each in self.requests if each.status == "OPEN" and each.expires <= self.now]
        for each in late:
            each.status = "EXPIRED"
        due = [each for each in self.requests if each.status == "APPROVED" and (each.due or 0) <= self.now]
        done = [self.carried_out(each).status for each in sorted(due, key=lambda each: each.due or 0)]
        return len(late), done.count("ACTIVATED")
