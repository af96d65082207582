"""A model of the governance of one pipeline in plain Python: its policy, its history, its releases and executions.

It is written from docs/policies.md and docs/runbooks, and shares no code with the product. Times are hours, and pass
only by `time_passes` of the machine. Reasons, operation keys and expected releases are tested with each operation.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

VERSIONS = ("1.0", "2.0", "3.0", "4.0")
POLICY: dict[str, Any] = {"workerGate": "off", "approvals": 0, "emergencyOverride": False, "skewGraceMinutes": 0}
PIPELINE = "pipeline"
"""The name of the pipeline among the targets of pauses. The others are versions."""
ROLLBACK_HOURS, VOTING_HOURS = 30 * 24, 72
UNDECIDED = {"OPEN", "APPROVED"}
BLOCKERS = {"QUEUED": "QUEUED", "FAILED": "FAILED"}


class Refused(Exception):
    """The documents refuse an operation for each of these reasons. They do not say which one is reported."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = set(codes)


@contextmanager
def refusals() -> Iterator[set[str]]:
    """Collect refusals in the block. Raise `Refused` at its end if there is one."""
    found: set[str] = set()
    yield found
    if found:
        raise Refused(*found)


@dataclass
class Row:
    """A row of the history of activations. Requests and gradual activations are named by their number."""

    kind: str
    release: str
    previous: str | None
    at: float
    candidate: str | None = None
    share: float | None = None
    gradual: int | None = None
    override: bool = False
    request: int | None = None


@dataclass
class Gradual:
    """A gradual activation. `tags` name the executions that all get the candidate."""

    baseline: str
    candidate: str
    shares: tuple[float, ...]
    tags: tuple[str, ...]
    step: int = 0
    status: str = "RUNNING"
    cause: str | None = None


@dataclass
class Request:
    """A request to activate a release. `base` is the length of the history that it was made on."""

    release: str
    requester: str
    base: int
    policy: dict[str, Any]
    expires: float
    due: float | None
    status: str
    round: int = 1
    codes: set[str] = field(default_factory=set)
    """Why it FAILED: one of these."""
    votes: dict[tuple[int, str], str] = field(default_factory=dict)


@dataclass
class Run:
    """An execution."""

    release: str
    status: str = "QUEUED"


@dataclass
class Model:
    """`holds` says of each paused target if it refuses submissions. `absent` are people who no longer may activate."""

    now: float = 0
    policy: dict[str, Any] = field(default_factory=lambda: dict(POLICY))
    rows: list[Row] = field(default_factory=list)
    graduals: list[Gradual] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=lambda: dict.fromkeys(VERSIONS, "REGISTERED"))
    workers: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(VERSIONS, True))
    holds: dict[str, bool] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def active(self) -> str | None:
        return self.rows[-1].release if self.rows else None

    @property
    def running(self) -> Gradual | None:
        return next((each for each in self.graduals if each.status == "RUNNING"), None)

    def was_active_lately(self, version: str) -> bool:
        """True if another release replaced `version` in the last 30 days."""
        since = self.now - ROLLBACK_HOURS
        return any(row.previous == version != row.release and row.at >= since for row in self.rows)

    def is_open(self, version: str) -> bool:
        """True if callers that name the release get it."""
        return self.is_in_grace(version) or version in {self.active, self.running and self.running.candidate}

    def is_in_grace(self, version: str) -> bool:
        """True if callers that name the release get it, though it was replaced."""
        if version in {self.active, self.running and self.running.candidate}:
            return False
        replaced = [row.at for row in self.rows if row.previous == version != row.release]
        return bool(replaced) and replaced[-1] + self.policy["skewGraceMinutes"] / 60 > self.now

    def kind_of(self, version: str) -> str:
        """Return what an activation of `version` is."""
        was_active = any(row.release == version for row in self.rows)
        return "rollback" if was_active and version != self.active else "activation"

    def gates(self, version: str, kind: str, *, override: bool = False, approved: bool = False) -> Iterator[str]:
        """Yield the refusal of each gate that is unmet. `approved` says that a request has the approvals."""
        is_recent_rollback = kind == "rollback" and self.was_active_lately(version)
        if self.policy["workerGate"] == "require" and not self.workers[version]:
            yield "WORKER_REQUIRED"
        if override and not self.policy["emergencyOverride"]:
            yield "OVERRIDE_NOT_ALLOWED"
        if self.policy["approvals"] and not (approved or override or is_recent_rollback):
            yield "APPROVAL_REQUIRED"

    def require_registered(self, version: str) -> Iterator[str]:
        if self.statuses[version] != "REGISTERED":
            yield "RELEASE_NOT_REGISTERED"

    # --- activations ---

    def switch(self, kind: str, version: str, **members: Any) -> Row:
        """Append a row to the history. If another release becomes active, the gradual activation that runs ends."""
        running = self.running
        if running and kind in {"activation", "rollback"}:
            promotes = version == running.candidate
            running.status, running.cause = ("PROMOTED", "person") if promotes else ("REPLACED", "activation")
        self.rows.append(Row(kind, version, self.active, self.now, **members))
        return self.rows[-1]

    def activate(self, version: str, *, override: bool) -> Row:
        kind = self.kind_of(version)
        with refusals() as found:
            found.update(self.require_registered(version), self.gates(version, kind, override=override))
        return self.switch(kind, version, override=override)

    def roll_back(self, version: str | None, *, recent_only: bool) -> Row:
        version = version or next((row.previous for row in self.rows if row.release == self.active), None)
        if version is None:
            raise Refused("NOTHING_TO_ROLL_BACK_TO")
        kind = self.kind_of(version)
        with refusals() as found:
            found.update(self.require_registered(version), self.gates(version, kind))
            if kind != "rollback":
                found.add("NO_ROLLBACK")
            elif recent_only and not self.was_active_lately(version):
                found.add("ROLLBACK_TOO_FAR")
        return self.switch(kind, version)

    def start(self, candidate: str, shares: tuple[float, ...], tags: tuple[str, ...]) -> Gradual:
        with refusals() as found:
            found.update(self.require_registered(candidate), self.gates(candidate, "gradual"))
            if self.active is None:
                found.add("NO_ACTIVE_RELEASE")
            elif self.statuses[self.active] == "REVOKED":
                found.add("ACTIVE_RELEASE_REVOKED")
            if candidate == self.active:
                found.add("CANDIDATE_ACTIVE")
            if self.running:
                found.add("GRADUAL_ACTIVATION_RUNNING")
        assert self.active is not None
        self.graduals.append(Gradual(self.active, candidate, shares, tags))
        return self._route(len(self.graduals) - 1)

    def _route(self, number: int) -> Gradual:
        made = self.graduals[number]
        share = made.shares[made.step]
        self.switch("gradual", made.baseline, gradual=number, candidate=made.candidate, share=share)
        return made

    def _running(self, number: int) -> Gradual:
        if self.graduals[number].status != "RUNNING":
            raise Refused("GRADUAL_ACTIVATION_ENDED")
        return self.graduals[number]

    def step(self, number: int) -> Gradual:
        made = self._running(number)
        if made.step + 1 == len(made.shares):
            raise Refused("NO_NEXT_STEP")
        made.step += 1
        return self._route(number)

    def promote(self, number: int) -> None:
        made = self._running(number)
        with refusals() as found:
            found.update(self.gates(made.candidate, "promotion"))
        made.status, made.cause = "PROMOTED", "person"
        self.switch("promotion", made.candidate, gradual=number)

    def withdraw(self, number: int, cause: str = "person") -> None:
        """The candidate gets no further executions, and the active release stays."""
        made = self._running(number)
        made.status, made.cause = "WITHDRAWN", cause
        self.switch("withdrawal", made.baseline, gradual=number)

    # --- requests ---

    def ask(self, version: str, requester: str, *, due: float | None) -> Request:
        with refusals() as found:
            found.update(self.require_registered(version))
        expires = self.now + VOTING_HOURS
        expires = expires if due is None else min(expires, due)
        status = "OPEN" if self.policy["approvals"] else "APPROVED"
        self.requests.append(Request(version, requester, len(self.rows), dict(self.policy), expires, due, status))
        return self.carried_out(self.requests[-1])

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
        if self._has_moved(request):
            request.base, request.policy, request.round = len(self.rows), dict(self.policy), request.round + 1
            raise Refused("REQUEST_RESTARTED")
        if round_number != request.round:
            raise Refused("REQUEST_RESTARTED")
        request.votes[round_number, voter] = decision
        approvals = [key for key, vote in request.votes.items() if key[0] == request.round and vote == "approve"]
        if decision == "refuse":
            request.status = "REFUSED"
        elif len(approvals) >= max(1, request.policy["approvals"]):
            request.status = "APPROVED"

    def _has_moved(self, request: Request) -> bool:
        return (request.base, request.policy) != (len(self.rows), self.policy)

    def withdraw_request(self, request: Request) -> None:
        if request.status not in {*UNDECIDED, "WITHDRAWN"}:
            raise Refused("REQUEST_NOT_OPEN")
        request.status = "WITHDRAWN"

    def carried_out(self, request: Request) -> Request:
        """Activate the release of an approved request whose time has come, or say why not."""
        if request.status != "APPROVED" or (request.due is not None and request.due > self.now):
            return request
        kind = self.kind_of(request.release)
        request.codes = set(self.gates(request.release, kind, approved=True))
        if request.requester in self.absent:
            request.codes.add("SCOPE_MISSING")
        if self._has_moved(request):
            request.codes.add("REQUEST_OUTDATED")
        request.status = "FAILED" if request.codes else "ACTIVATED"
        if not request.codes:
            self.switch(kind, request.release, request=self.requests.index(request))
        return request

    def clock(self) -> tuple[int, int]:
        """Expire requests, and carry out those whose time has come. Return how many were expired and activated."""
        late = [each for each in self.requests if each.status == "OPEN" and each.expires <= self.now]
        for each in late:
            each.status = "EXPIRED"
        due = [each for each in self.requests if each.status == "APPROVED" and (each.due or 0) <= self.now]
        done = [self.carried_out(each).status for each in sorted(due, key=lambda each: each.due or 0)]
        return len(late), done.count("ACTIVATED")

    # --- executions ---

    def submit(self, key: str, *, tags: tuple[str, ...] = (), is_early: bool = False, named: str | None = None) -> Run:
        """`is_early` says that the routing key belongs to the part that a candidate gets."""
        release = named or self._submitted_to()
        with refusals() as found:
            if named and not (
                self.is_in_grace(named) or named in {self.active, self.running and self.running.candidate}
            ):
                found.add("RELEASE_NOT_OPEN")
            if self.statuses[release] != "REGISTERED":
                found.add("RELEASE_NOT_ADMITTED" if named else "ACTIVE_RELEASE_REVOKED")
            if self._refuses(release):
                found.add("PIPELINE_PAUSED")
            if not self.workers[release]:
                found.add("WORKER_UNAVAILABLE")
        if self.running and named is None:
            release = self._routed(release, tags, is_early)
        self.runs[key] = Run(release)
        return self.runs[key]

    def _submitted_to(self) -> str:
        if self.active is None:
            raise Refused("NO_ACTIVE_RELEASE")
        return self.active

    def _routed(self, active: str, tags: tuple[str, ...], is_early: bool) -> str:
        """A candidate that cannot run is no reason to refuse an execution."""
        assert self.running is not None
        candidate = self.running.candidate
        if not self.workers[candidate] or self._refuses(candidate):
            return active
        return candidate if is_early or set(tags) & set(self.running.tags) else active

    def _refuses(self, version: str) -> bool:
        return self.holds.get(version, False) or self.holds.get(PIPELINE, False)

    def due(self) -> dict[str, Run]:
        """Return the executions that a dispatcher claims."""
        return {
            key: run
            for key, run in self.runs.items()
            if run.status == "QUEUED" and self.workers[run.release] and not {run.release, PIPELINE} & self.holds.keys()
        }

    # --- pauses, revocations and retirements ---

    def resume(self, target: str) -> None:
        if target not in self.holds:
            raise Refused("NOT_PAUSED")
        del self.holds[target]

    def revoke(self, version: str, order: str) -> None:
        if self.statuses[version] == "RETIRED":
            raise Refused("RELEASE_NOT_REGISTERED")
        if self.statuses[version] == "REVOKED":
            return
        self.statuses[version] = "REVOKED"
        if self.running and version in {self.running.baseline, self.running.candidate}:
            self.withdraw(self.graduals.index(self.running), "revocation")
        for request in self.requests:
            if request.release == version and request.status in UNDECIDED:
                request.status, request.codes = "FAILED", {"RELEASE_REVOKED"}
        if order == "pause":
            self.holds.setdefault(version, False)
        for run in self.runs.values():
            if order == "fail" and run.release == version and run.status == "QUEUED":
                run.status = "FAILED"

    def retire(self, version: str, *, give_up_failures: bool) -> None:
        if self.statuses[version] == "RETIRED":
            return
        if self.statuses[version] == "REVOKED":
            raise Refused("RELEASE_NOT_REGISTERED")
        if any(not (give_up_failures and kind == "FAILED") for kind in self.blockers(version)):
            raise Refused("RETIREMENT_BLOCKED")
        self.statuses[version] = "RETIRED"

    def blockers(self, version: str) -> Counter[str]:
        """Return what still needs the release, and how many of each."""
        found = Counter(run.status for run in self.runs.values() if run.release == version and run.status in BLOCKERS)
        waiting = [each.status for each in self.requests if each.release == version and each.status in UNDECIDED]
        found.update({"APPROVAL": waiting.count("OPEN"), "SCHEDULE": waiting.count("APPROVED")})
        running = self.running
        found["ACTIVE"] = version == self.active
        found["GRADUAL"] = running is not None and version in {running.baseline, running.candidate}
        found["SKEW_GRACE"] = self.is_in_grace(version)
        return +found
