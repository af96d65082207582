"""The part of the model that runs executions, pauses them, and ends the life of releases."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.executions.governance.model import Refused, refusals
from tests.executions.governance.requesting import UNDECIDED, Requesting

PIPELINE = "pipeline"
"""The name of the pipeline among the targets of pauses. The others are versions."""
SAME_STEPS = ({"1.0", "2.0"}, {"3.0", "4.0"})
"""The releases of equal contracts. Only they continue from a checkpoint of each other."""
BLOCKERS = {"QUEUED": "QUEUED", "FAILED": "FAILED", "DLQ": "DEAD_LETTERED"}
OVER = {"SUCCEEDED", "FAILED", "DLQ"}


def takes(gradual_id: str, share: float, key: str) -> bool:
    """Return whether a candidate with this share gets the executions of a routing key."""
    digest = hashlib.sha256(f"{gradual_id}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10_000 < share * 100


@dataclass
class Run:
    """An execution. `step` is where its checkpoint is, or 0. `value` is its input."""

    release: str
    value: int = 1
    status: str = "QUEUED"
    step: int = 0
    smoke: bool = False
    links: "dict[str, Run]" = field(default_factory=dict)
    """The new executions of its resubmissions, by operation key."""
    from_checkpoint: bool = False


@dataclass
class Model(Requesting):
    """The whole model. `runs` are the executions by their keys."""

    runs: dict[str, Run] = field(default_factory=dict)

    # --- submissions ---

    def submit(
        self,
        key: str,
        value: int,
        *,
        tags: tuple[str, ...] = (),
        is_early: bool = False,
        named: str | None = None,
        expected: str | None = None,
    ) -> Run:
        """`is_early` says that the routing key belongs to the part that a candidate gets."""
        first = self.runs.get(key)
        if first:
            if first.value != value or named not in {None, first.release}:
                raise Refused("IDEMPOTENCY_KEY_REUSED")
            return first
        release = self._named(named) if named else self._active()
        with refusals() as found:
            if expected not in {None, release}:
                found.add("ACTIVE_RELEASE_CHANGED")
            if not self.workers[release]:
                found.add("WORKER_UNAVAILABLE")
        if self.running and named is None and expected is None:
            release = self._routed(release, tags, is_early)
        self.runs[key] = Run(release, value)
        return self.runs[key]

    def _active(self) -> str:
        if self.active is None:
            raise Refused("NO_ACTIVE_RELEASE")
        if self.statuses[self.active] == "REVOKED":
            raise Refused("ACTIVE_RELEASE_REVOKED")
        if self.refuses(self.active):
            raise Refused("PIPELINE_PAUSED")
        return self.active

    def _named(self, version: str) -> str:
        if not self.is_open(version):
            raise Refused("RELEASE_NOT_OPEN", *self._not_admitted(version))
        with refusals() as found:
            found.update(self._not_admitted(version))
        return version

    def _not_admitted(self, version: str) -> Iterator[str]:
        if self.statuses[version] != "REGISTERED":
            yield "RELEASE_NOT_ADMITTED"
        if self.refuses(version):
            yield "PIPELINE_PAUSED"

    def _routed(self, active: str, tags: tuple[str, ...], is_early: bool) -> str:
        """A candidate that cannot run is no reason to refuse an execution."""
        assert self.running is not None
        candidate = self.running.candidate
        if not self.workers[candidate] or self.refuses(candidate):
            return active
        return candidate if is_early or set(tags) & set(self.running.tags) else active

    def refuses(self, version: str) -> bool:
        return self.holds.get(version, False) or self.holds.get(PIPELINE, False)

    def smoke(self, version: str, key: str) -> Run:
        self._require_admits(version)
        self.runs[key] = Run(version, smoke=True)
        return self.runs[key]

    def resubmit(self, old: Run, version: str | None, key: str, new_key: str, *, from_checkpoint: bool) -> Run:
        made = old.links.get(key)
        if made:
            if version not in {None, made.release} or made.from_checkpoint != from_checkpoint:
                raise Refused("RESUBMIT_KEY_REUSED")
            return made
        if old.status not in OVER:
            raise Refused("RESUBMIT_REFUSED")
        target = version or self._active()
        with refusals() as found:
            found.update(self._not_admitted(target))
            if not self.workers[target]:
                found.add("WORKER_UNAVAILABLE")
            if from_checkpoint and not old.step:
                found.add("CHECKPOINT_MISSING")
            elif from_checkpoint and not any({old.release, target} <= same for same in SAME_STEPS):
                found.add("CHECKPOINT_INCOMPATIBLE")
        made = Run(target, old.value, step=old.step if from_checkpoint else 0, from_checkpoint=from_checkpoint)
        old.links[key] = self.runs[new_key] = made
        return made

    def _require_admits(self, version: str) -> None:
        with refusals() as found:
            found.update(self._not_admitted(version))
            if not self.workers[version]:
                found.add("WORKER_UNAVAILABLE")

    # --- what runs ---

    def due(self) -> dict[str, Run]:
        """Return the executions that a dispatcher claims."""
        return {key: run for key, run in self.runs.items() if run.status == "QUEUED" and self._is_claimed(run.release)}

    def _is_claimed(self, version: str) -> bool:
        return self.workers[version] and version not in self.holds and PIPELINE not in self.holds

    def ended(self, run: Run, status: str) -> None:
        run.status = status
        if run.smoke and status == "SUCCEEDED":
            self.passed[run.release] = self.now

    # --- pauses, revocations and retirements ---

    def pause(self, target: str, *, reason: str, refuses: bool) -> bool:
        """Return whether it was not paused before."""
        if not reason:
            raise Refused("REASON_REQUIRED")
        is_new = target not in self.holds
        self.holds.setdefault(target, refuses)
        return is_new

    def resume(self, target: str) -> None:
        if target not in self.holds:
            raise Refused("NOT_PAUSED")
        del self.holds[target]

    def revoke(self, version: str, order: str, *, reason: str) -> None:
        if not reason:
            raise Refused("REASON_REQUIRED")
        if self.statuses[version] == "RETIRED":
            raise Refused("RELEASE_NOT_REGISTERED")
        if self.statuses[version] == "REVOKED":
            return
        self.statuses[version] = "REVOKED"
        if self.running and version in {self.running.baseline, self.running.candidate}:
            self.withdrawn(self.graduals.index(self.running), "revocation")
        for request in self.requests:
            if request.release == version and request.status in UNDECIDED:
                request.status, request.codes = "FAILED", {"RELEASE_REVOKED"}
        if order == "pause":
            self.holds.setdefault(version, False)
        for run in self.runs.values():
            if order == "fail" and run.release == version and run.status == "QUEUED":
                run.status = "FAILED"

    def retire(self, version: str, *, reason: str, give_up_failures: bool) -> None:
        if not reason:
            raise Refused("REASON_REQUIRED")
        if self.statuses[version] == "RETIRED":
            return
        if self.statuses[version] == "REVOKED":
            raise Refused("RELEASE_NOT_REGISTERED")
        if any(not (give_up_failures and kind in {"FAILED", "DEAD_LETTERED"}) for kind in self.blockers(version)):
            raise Refused("RETIREMENT_BLOCKED")
        self.statuses[version] = "RETIRED"

    def blockers(self, version: str) -> Counter[str]:
        """Return what still needs the release, and how many of each."""
        found = Counter(
            BLOCKERS[run.status]
            for run in self.runs.values()
            if run.release == version and run.status in BLOCKERS and (run.status == "QUEUED" or not run.smoke)
        )
        waiting = [each.status for each in self.requests if each.release == version and each.status in UNDECIDED]
        found.update({"APPROVAL": waiting.count("OPEN"), "SCHEDULE": waiting.count("APPROVED")})
        running = self.running
        found["ACTIVE"] = version == self.active
        found["GRADUAL"] = running is not None and version in {running.baseline, running.candidate}
        found["SKEW_GRACE"] = self.is_in_grace(version)
        return +found
