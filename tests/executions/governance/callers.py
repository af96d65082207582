"""The operations of callers and workers: submissions, smoke tests, resubmissions and outcomes."""

from collections import defaultdict

from hypothesis import strategies as st

from executions.lifecycle import outcome
from executions.models import StartFrom
from executions.smoke_tests import smoke_tests
from executions.state_machine.moves import Claim
from executions.submission.resubmission import resubmit
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError
from tests import making
from tests.executions.governance.machine import ACTOR, EXPECTED, VERSION, Machine, operation
from tests.executions.governance.running import OVER, takes
from wire.messages.celery_messages import Checkpoint, OutcomeGroup


class Callers(Machine):
    """Submits executions and ends them."""

    @operation(
        weight=3,
        key=st.integers(0, 50),
        value=st.sampled_from([1, 1, 1, 2]),
        tags=st.sampled_from([(), (), ("beta",), ("eu", "other")]),
        is_early=st.booleans(),
    )
    def submit(self, key: int, value: int, tags: tuple[str, ...], is_early: bool) -> None:
        self.send(f"key-{key}", value, tags=tags, is_early=is_early)

    @operation(weight=2, key=st.integers(0, 50), named=VERSION)
    def submit_to(self, key: int, named: str) -> None:
        self.send(f"key-{key}", 1, named=named)

    @operation(expected=EXPECTED.filter(bool), is_early=st.booleans())
    def submit_if_active(self, expected: str, is_early: bool) -> None:
        self.send(f"expects-{self.number()}", 1, is_early=is_early, expected=expected)

    def send(
        self,
        key: str,
        value: int,
        *,
        tags: tuple[str, ...] = (),
        is_early: bool = False,
        named: str | None = None,
        expected: str | None = None,
    ) -> None:
        is_early, routing_key = self.routing(is_early)
        request = ExecutionRequest(
            making.PIPELINE,
            {"n": value},
            key,
            expected_release_version=expected,
            release_version=named,
            routing_key=routing_key,
            tags=tags,
        )
        made = self.both(
            lambda: self.model.submit(key, value, tags=tags, is_early=is_early, named=named, expected=expected),
            lambda: accepted(submit_many(self.world.owner, [request], actor=ACTOR)),
        )
        if made:
            assert made.release_version == self.model.runs[key].release

    def routing(self, is_early: bool) -> tuple[bool, str]:
        """Return whether a routing key exists that the candidate gets, or else does not get, and such a key."""
        running = self.model.running
        share = running.shares[running.step] if running else 0.0
        is_early = share == 100 or (is_early and share > 0)
        gradual_id = str(self.gradual_ids[-1]) if running else ""
        numbers = (f"customer-{number}" for number in range(10_000))
        return is_early, next(key for key in numbers if takes(gradual_id, share, key) == is_early)

    @operation(weight=2, version=VERSION)
    def smoke_test(self, version: str) -> None:
        key = f"smoke-{self.number()}"
        self.both(
            lambda: self.model.smoke(version, f"smoke:{version}:{key}"),
            lambda: smoke_tests.start(self.release(version), actor=ACTOR, input={"n": 1}, idempotency_key=key),
        )

    @operation(
        weight=3,
        when=lambda self: self.model.runs,
        data=st.data(),
        version=st.one_of(st.none(), VERSION),
        key=st.sampled_from(["a", "a", "b"]),
        from_checkpoint=st.booleans(),
    )
    def resubmit(self, data: st.DataObject, version: str | None, key: str, from_checkpoint: bool) -> None:
        over = [name for name, run in self.model.runs.items() if run.status in OVER]
        chosen = data.draw(st.sampled_from(over or list(self.model.runs)))
        old = self.execution(chosen)
        made = self.both(
            lambda: self.model.resubmit(
                self.model.runs[chosen],
                version,
                key,
                f"resubmit:{old.pk}:{key}",
                from_checkpoint=from_checkpoint,
            ),
            lambda: resubmit(
                self.world.owner,
                old.pk,
                actor=ACTOR,
                reason="why",
                release_version=version,
                start_from=StartFrom.CHECKPOINT if from_checkpoint else StartFrom.INPUT,
                operation_key=key,
            ),
        )
        if made:
            model = self.model.runs[made.execution_key]
            assert (made.release_version, made.current_step_index) == (model.release, model.step) or made.finished_at

    @operation(weight=3, kind=st.sampled_from(["completes", "completes", "fails", "fails after a checkpoint"]))
    def run(self, kind: str) -> None:
        """Claim everything that is due, and report the same outcome of all of it."""
        due = self.model.due()
        claims = making.claimed(self.world.owner)
        keys = {str(self.execution(key).pk): key for key in due}
        assert {str(claim.execution_id) for claim in claims} == keys.keys()
        groups: dict[str, list[Claim]] = defaultdict(list)
        for claim in claims:
            groups[claim.release_version].append(claim)
            run = due[keys[str(claim.execution_id)]]
            assert (claim.release_version, claim.step_index) == (run.release, run.step)
            if kind == "fails after a checkpoint":
                run.step = 1
            self.model.ended(run, "SUCCEEDED" if kind == "completes" else "FAILED")
        for version, some in groups.items():
            group = OutcomeGroup(
                worker_id="w",
                checkpoints=[reached(each) for each in some if kind.endswith("checkpoint") and not each.step_index],
                outcomes=[making.outcome_of(each) for each in some]
                if kind == "completes"
                else [making.failure(each, retryable=False) for each in some],
            )
            assert outcome.record(self.release(version).identity, group) == len(some)


def accepted(verdicts: list[Submission | CoordinatorError]) -> Submission:
    [verdict] = verdicts
    if isinstance(verdict, CoordinatorError):
        raise verdict
    return verdict


def reached(claim: Claim) -> Checkpoint:
    """Return the report of a worker that has completed the first step."""
    return Checkpoint(
        execution_id=claim.execution_id,
        execution_version=claim.version,
        lease_token=claim.lease_token,
        transition_key=making.outcome_of(claim).transition_key,
        next_step_index=1,
        output_payloads=['{"n": 2}'],
    )
