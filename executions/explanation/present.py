"""What an execution does now and what happens next, in sentences. Its page, REST and the command line say the same."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from django.utils import timezone

from executions.awaits import recipients
from executions.failures import queries as failures
from executions.holds.holds import holds_of
from executions.lifecycle.queries import items, links
from executions.models import DUE_VALUES, DeadLetter, Execution, Hold, Interaction, WorkerEligibility
from executions.models.execution import WAITS_FOR_PLACE
from executions.models.states import EXPIRED, PRIORITIES, State
from executions.submission.places import REPLACED, newer_of
from executions.workers.eligibility import start_command, why_stranded
from foundation.spans import lasting
from releases.models import Revocation
from releases.states import Status
from releases.step_names import Step
from releases.step_policies import effective_limits
from wire.documents.concurrency import OF_ALL
from wire.documents.contract import CHILD, TIMER


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence. If it names a time, that is `at`, between `text` and `rest`; or there are ids of `executions`."""

    text: str
    at: datetime | None = None
    rest: str = "."
    executions: tuple[uuid.UUID, ...] = ()

    def __str__(self) -> str:
        if self.at is None and not self.executions:
            return self.text
        named = ", ".join(map(str, self.executions)) if self.at is None else said(self.at)
        return f"{self.text} {named}{self.rest}"


def said(at: datetime) -> str:
    """Return a time as sentences name it, in UTC and to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


HOLDERS_NAMED: Final = 3


def why_queued(execution: Execution, place: str, now: datetime, *, is_paused: bool) -> Sentence:
    """Say what a queued execution waits for. `place` is the step at which it starts."""
    due = execution.due_at
    if due is None:
        return Sentence(f"{place} waits for a place: {_limits_in_words(execution)}.")
    if due > now:
        return Sentence(f"{place} {_until_due(execution)}", due)
    if is_paused:
        return Sentence(f"{place} is due. It starts when nothing pauses it.")
    return Sentence(f"{place} is due and waits for a free worker of release {execution.release_version}.")


def _limits_in_words(execution: Execution) -> str:
    """Return which limits of its key keep an execution from its start."""
    limits, key = effective_limits(execution.release), execution.concurrency_key
    which = "of the pipeline" if key == OF_ALL else f"with the concurrency key {key}"
    reached = []
    if "limit" in limits:
        most = f"at most {limits['limit']} executions {which} are in progress"
        only = f"as many executions {which} are in progress as the release allows"
        reached.append(most if "rate" in limits else only)
    if "rate" in limits:
        rate = limits["rate"]
        reached.append(f"at most {rate['limit']} executions {which} start in {rate['seconds']} seconds")
    return ", and ".join(reached) or f"a control worker has not checked the executions {which} yet"


def what_starts(execution: Execution) -> list[Sentence]:
    """Say which executions have the places for which it waits, when it expires, and what to do if it has expired."""
    if execution.error_code == EXPIRED:
        return [Sentence("Submit it again with a later time, or resubmit it: a resubmission does not expire.")]
    sentences: list[Sentence] = []
    if execution.status == State.QUEUED and execution.concurrency_key is not None and execution.due_at is None:
        sentences += _holders(execution)
    if execution.status == State.QUEUED and execution.expires_at and execution.version == 0:
        sentences.append(Sentence("It is cancelled if no worker has started it by", execution.expires_at))
    return sentences


def why_ended(execution: Execution, after: str) -> Sentence:
    """Say how an execution ended that did not fail. `after` says how long after its submission."""
    ended = f"{execution.status.capitalize()} {after}."
    if execution.error_code == EXPIRED:
        return Sentence(f"{ended} No worker had started it by", execution.expires_at, ". It never ran.")
    if execution.error_code == REPLACED:
        text = f"{ended} A newer submission with its concurrency key replaced it:"
        return Sentence(text, executions=(newer_of(execution),))
    return Sentence(ended)


def _holders(execution: Execution) -> list[Sentence]:
    """Name those that are in progress longest. Reads the index of open executions with the key.

    Says nothing if it may be the rate for which the execution waits.
    """
    limits = effective_limits(execution.release)
    if "limit" not in limits:
        return []
    rows = Execution.objects.filter(
        tenant=execution.tenant_id,
        pipeline_id=execution.pipeline_id,
        concurrency_key=execution.concurrency_key,
        finished_at=None,
        next_due_at__lt=WAITS_FOR_PLACE,
    )
    if "rate" in limits and rows.count() < limits["limit"]:
        return []
    holders = tuple(rows.order_by("created_at", "id").values_list("pk", flat=True)[: HOLDERS_NAMED + 1])
    if not holders:
        return [Sentence("A place is free. The execution gets it with the next sweep.")]
    more = " or another." if len(holders) > HOLDERS_NAMED else "."
    return [Sentence("It gets a place when one of these has ended:", rest=more, executions=holders[:HOLDERS_NAMED])]


def _until_due(execution: Execution) -> str:
    if execution.next_due_at >= WAITS_FOR_PLACE and execution.not_before != execution.due_at:
        return "waits for a newer submission with its concurrency key, which would replace it, until"
    if execution.not_before == execution.due_at:
        return "starts, as its submission says, no earlier than"
    if execution.priority == PRIORITIES["low"]:
        return "has low priority. It starts when a worker is free, and has normal priority from"
    return "is due at"


QUESTIONS_SHOWN: Final = 20
QUESTIONS_NAMED: Final = 3
"""How many open questions sentences name."""
RETIRED: Final = "Its release is retired, so it cannot run again. Resubmit it."


class Present:
    """The state of an execution, its pauses and open questions, and why no worker may run it. Each is read once."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.at = timezone.now()
        self.holds = holds_of(execution)
        self.stranded = why_stranded(execution.release_id) if execution.status in DUE_VALUES else None
        self.questions = _open_questions(execution)
        self.items = items(execution)

    def now(self) -> list[Sentence]:
        """Say what the execution does now, or how it ended, and how many items of its step are done."""
        return [*self._now(), *self._items_done()]

    def _items_done(self) -> Iterator[Sentence]:
        if self.items is not None:
            failed = f", {self.items.failed:,} of them failed" if self.items.failed else ""
            kind = "branches" if self._has_branches(self.items.step_index) else "items"
            yield Sentence(f"{self.items.done:,} of {self.items.total:,} {kind} are done{failed}.")

    def _has_branches(self, step_index: int) -> bool:
        contract = self.execution.release.contract
        return contract is not None and "branching" in contract.document["steps"][step_index]

    def _now(self) -> list[Sentence]:
        execution = self.execution
        release, worker = execution.release_version, execution.lease_worker
        match State(execution.status):
            case State.QUEUED:
                return [why_queued(execution, self._place, self.at, is_paused=bool(self.holds))]
            case State.RUNNING if execution.running_since and execution.lease_expires_at:
                return [
                    Sentence(f"Runs on worker {worker} since", execution.running_since, f", from {self._place} on."),
                    Sentence("The worker holds the lease until", execution.lease_expires_at),
                ]
            case State.RUNNING if worker:
                return [Sentence(f"Claimed. Worker {worker} holds it but has not started {self._place}.")]
            case State.RUNNING:
                text = f"Claimed and sent to the workers of release {release}. No worker has reported it yet."
                return [Sentence(text)]
            case State.WAIT_RETRY:
                failed = failures.failed_step(execution)
                text = f"Attempt {attempts(execution)} failed at {failed} with {execution.error_code}. The next is due"
                return [Sentence(text, execution.next_due_at)]
            case State.WAITING_EXTERNAL:
                return list(self._waits())
            case State.FAILED | State.DLQ:
                return [Sentence(f"Failed at {self.step}, {self._after}: {self._why_failed()}.")]
            case _:
                return [why_ended(execution, self._after)]

    def following(self) -> list[Sentence]:
        """Say what happens next, what prevents it, and what people can do."""
        execution = self.execution
        causes = [_paused(hold) for hold in self.holds]
        causes += what_starts(execution)
        if self.stranded:
            causes.append(Sentence(self.why_stranded()))
        if execution.status == State.RUNNING:
            causes.append(Sentence("If the worker is lost, another one takes over after the lease has ended."))
        if execution.status in (State.FAILED, State.DLQ):
            causes += _after_failure(execution)
        for link in links(execution):
            at = f" on release {link.release_version}, and is {link.status}" if link.status else ""
            causes.append(Sentence(f"It was resubmitted as {link.resubmission.new_execution_id}{at}."))
        return causes

    def why_stranded(self) -> str:
        """Say why no worker may run the release, and what to do; empty if one may."""
        if not self.stranded:
            return ""
        release = self.execution.release_version
        is_full = self.stranded == WorkerEligibility.Reason.NO_FREE_THREAD.label
        act = "Restart the worker, or start another one" if is_full else "Start a worker"
        stays = "The execution never moves to another release."
        command = start_command(self.execution.pipeline_id, release)
        return f"No worker may run release {release}: {self.stranded}. {stays} {act} for {release}: {command}"

    @cached_property
    def failure(self) -> DeadLetter | None:
        return failures.latest_failure(self.execution)

    @property
    def step(self) -> Step:
        """The step that failed if the execution has failed. Otherwise the step at which it is."""
        return failures.step_with(self.execution, self.failure)

    @property
    def lasted(self) -> str:
        """How long the execution has been there, or took."""
        return lasting((self.execution.finished_at or self.at) - self.execution.created_at)

    @property
    def _after(self) -> str:
        return f"{self.lasted} after it was submitted"

    @property
    def _place(self) -> str:
        return str(failures.step_of(self.execution.release, self.execution.current_step_index))

    def _why_failed(self) -> str:
        return failures.REASONS[self.failure.reason] if self.failure else str(self.execution.error_code)

    def _waits(self) -> Iterator[Sentence]:
        for question in self.questions[:QUESTIONS_NAMED]:
            step = failures.step_of(self.execution.release, question.step_index)
            item = "" if question.item_index is None else f", item {question.item_index + 1},"
            if question.transport == TIMER:
                yield Sentence(f"{step} waits until", question.deadline)
                continue
            if question.transport == CHILD:
                yield self._waits_for_child(f"{step}{item}", question)
                continue
            to = " or ".join(recipients.addressees(question).names)
            by = f" of {to}" if to else " of a webhook" if question.transport == "webhook" else ""
            yield Sentence(
                f"{step}{item} waits for the answer{by} to question {question.known_as} until", question.deadline
            )
        more = len(self.questions) - QUESTIONS_NAMED
        if more > 0:
            least = "At least " if len(self.questions) > QUESTIONS_SHOWN else ""
            yield Sentence(f"{least}{more} more questions are open.")

    def _waits_for_child(self, place: str, question: Interaction) -> Sentence:
        child = self._children.get(question.pk)
        if child is not None:
            text = f"{place} waits for execution {child.pk} of {child.pipeline_id}, which is {child.status}, until"
            return Sentence(text, question.deadline)
        refusal = f" ({question.last_dispatch_error})" if question.last_dispatch_error else ""
        from executions.children.calls import call_of  # most executions call no pipeline

        call = call_of(self.execution, question.step_index)
        return Sentence(f"{place} waits until {call} accepts an execution{refusal}, at most until", question.deadline)

    @cached_property
    def _children(self) -> Mapping[uuid.UUID, Execution]:
        from executions.children.calls import children_of  # most executions call no pipeline

        return children_of(self.questions[:QUESTIONS_NAMED])


def attempts(execution: Execution) -> int:
    """Return how many attempts have begun. The attempts of lost leases are not counted again."""
    claims = execution.events.filter(kind="CLAIMED").order_by("-sequence").values_list("data", flat=True)
    newest = claims.first()
    return 0 if newest is None else int(newest.get("attempt") or 0) + 1


def _open_questions(execution: Execution) -> list[Interaction]:
    """Return the questions that it waits for, in the order of the items, at most one more than are shown."""
    if execution.status != State.WAITING_EXTERNAL:
        return []
    rows = Interaction.objects.filter(unit=execution.await_unit_id, status__in=Interaction.OPEN)
    return list(rows.defer("request", "response").order_by("item_index")[: QUESTIONS_SHOWN + 1])


def _paused(hold: Hold) -> Sentence:
    target = "The execution" if hold.execution_id else "Its release" if hold.release_id else "Its pipeline"
    return Sentence(f"{target} is paused by {hold.started_by} since", hold.started_at, f": {hold.reason}")


def _after_failure(execution: Execution) -> Iterator[Sentence]:
    revocation = Revocation.objects.filter(release=execution.release_id).first()
    if revocation:
        yield Sentence(f"{revocation.actor} revoked release {execution.release_version}: {revocation.reason}")
    if execution.release.status == Status.RETIRED:
        yield Sentence(RETIRED)
    else:
        allowed = " that allows FAILED executions" if execution.status == State.FAILED else ""
        yield Sentence(f"A re-drive{allowed} runs it again. {failures.restart_of(execution)}")
