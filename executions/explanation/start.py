"""Why an execution has not started yet, or never did, and what starts it, in sentences (ADR 125)."""

from datetime import datetime
from typing import Final

from executions.explanation.sentences import Sentence
from executions.lifecycle.starts import EXPIRED
from executions.models import Execution
from executions.models.execution import WAITS_FOR_PLACE
from executions.models.states import PRIORITIES, State
from executions.submission.replacement import REPLACED, newer_of
from releases.start_limits import effective_limits
from wire.documents.concurrency import OF_ALL

HOLDERS_NAMED: Final = 3


def why_queued(execution: Execution, place: str, now: datetime) -> Sentence:
    """Say what a queued execution waits for. `place` is the step at which it starts."""
    due = execution.due_at
    if due is None:
        return Sentence(f"{place} waits for a place: {_limits_in_words(execution)}.")
    if due > now:
        return Sentence(f"{place} {_until_due(execution)}", due)
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
