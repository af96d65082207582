"""Answers what would happen if a release became active now. Changes nothing and takes no locks."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from django.db import connection
from django.utils import timezone

from executions.holds import holds
from executions.inspection.callers import Callers, callers
from executions.workers.eligibility import Hosts, hosts
from foundation.errors import CoordinatorError
from foundation.plurals import counted
from governance.activation import activation, gates
from governance.activation.gates import Gate, Switch, Verdict
from governance.gradual.evidence import missing_before_activation
from governance.reports import comparison
from governance.retirement.retirement import MOST_COUNTED, Blocker, Kind, blockers
from releases.artifacts.soundness import require_sound
from releases.models import Kind as ActivationKind
from releases.models import Release
from releases.pointer import require_registered
from releases.step_names import calls_pipelines
from wire.comparison.differences import Difference, Impact

SCHEDULES_NAMED: Final = 5
"""How many schedules the cautions of one kind name."""

# Counts the open questions of the executions of a release, at most %(most)s. An index finds those that wait for an
# answer; the others have no open questions. Timers are no questions. OFFSET keeps the planner from reading all open
# questions.
_QUESTIONS = """
SELECT count(*) FROM (
    SELECT FROM executions_execution e CROSS JOIN LATERAL (
        SELECT FROM executions_interaction i WHERE i.execution_id = e.id
            AND i.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND i.transport NOT IN ('timer', 'pipeline')
        OFFSET 0
    ) i
    WHERE e.release_id = %(replaced)s AND e.status = 'WAITING_EXTERNAL'
        AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(most)s
) AS open
"""

# Counts the running and the due executions of a pipeline, on all its releases, and the open ones of one release, by
# indexes that have only those; the schedules of the pipeline; and the open questions of the release that is replaced.
_LOAD = f"""
SELECT (SELECT count(*) FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
        WHERE r.pipeline_id = %(pipeline)s AND e.status = 'RUNNING'),
    (SELECT count(*) FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
        WHERE r.pipeline_id = %(pipeline)s AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
            AND e.next_due_at <= now()),
    (SELECT count(*) FROM executions_execution e
        WHERE e.release_id = %(release)s AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
            AND NOT e.smoke),
    (SELECT count(*) FROM executions_schedule s WHERE s.pipeline_id = %(pipeline)s AND s.removed_at IS NULL),
    ({_QUESTIONS})
"""  # noqa: S608  # nosec B608


class Concern(StrEnum):
    """What a caution is about."""

    GATE = "gate"
    WORKERS = "workers"
    CAPACITY = "capacity"
    CALLERS = "callers"
    INPUTS = "inputs"
    SCHEDULES = "schedules"
    PAUSE = "pause"
    CHILDREN = "children"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Caution:
    """What to consider before the activation. It does not prevent it."""

    concern: Concern
    detail: str


@dataclass(frozen=True, slots=True)
class Load:
    """The executions of a pipeline, on all its releases, that run now, and those that are due and wait for a worker.

    `pinned` are the open executions of the release that would become active. `schedules` of the pipeline were not
    removed. `questions` are the open ones of the release that would be replaced.
    """

    running: int
    due: int
    pinned: int
    schedules: int
    questions: int


@dataclass(frozen=True, slots=True)
class Preflight:
    """What would happen if `release` became active now, instead of `active`.

    `refusals` are the errors that an activation would raise. `remaining` is what still needs `active` afterwards, and
    `questions` how many questions of its executions are open. If nothing is replaced, nothing remains.
    """

    release: Release
    active: Release | None
    kind: ActivationKind
    reason_required: bool
    refusals: list[CoordinatorError]
    gates: list[Gate]
    differences: tuple[Difference, ...]
    hosts: Hosts
    load: Load
    remaining: list[Blocker]
    questions: int
    callers: Callers
    warnings: list[Caution]

    @property
    def is_allowed(self) -> bool:
        return not self.refusals


def preflight(release: Release) -> Preflight:
    """Return what would happen if `release` became active now."""
    switch = activation.previewed(release)
    return preflight_of(switch, gates.judge(switch))


def preflight_of(switch: Switch, judged: list[Gate]) -> Preflight:
    """Return what would happen if the planned activation happened now. `judged` are the verdicts on its gates."""
    release, pipeline = switch.release, switch.pipeline
    active = pipeline.active_release
    replaced = active if active is not None and active.pk != release.pk else None
    differences = comparison.differences(active, release, switch.signers) if active else ()
    hosting, load, inputs = hosts(release), _load(release, replaced), callers(release, active)
    missing = missing_before_activation(pipeline, release)
    return Preflight(
        release=release,
        active=active,
        kind=switch.kind,
        reason_required=pipeline.reason_required or switch.kind == ActivationKind.ROLLBACK or bool(missing),
        refusals=[*_unfit(release), *(gate.refusal for gate in judged if gate.refusal is not None)],
        gates=judged,
        differences=differences,
        hosts=hosting,
        load=load,
        remaining=[blocker for blocker in blockers(replaced) if blocker.kind is not Kind.ACTIVE] if replaced else [],
        questions=load.questions,
        callers=inputs,
        warnings=[
            *(Caution(Concern.GATE, gate.detail) for gate in judged if gate.verdict is Verdict.WARNING),
            *(Caution(Concern.WORKERS, text) for text in hosting.warnings),
            *_capacity(hosting, load),
            *_breaking(differences),
            *_failing(inputs),
            *(_schedules(release, replaced) if load.schedules else ()),
            *_children(release),
            *(Caution(Concern.EVIDENCE, text) for text in missing),
            *(
                Caution(Concern.PAUSE, f"The {'release' if hold.release_id else 'pipeline'} is paused: {hold.reason}")
                for hold in holds.holds_of_release(release)
            ),
        ],
    )


def _unfit(release: Release) -> list[CoordinatorError]:
    try:
        require_registered(release)
        require_sound(release)
    except CoordinatorError as refusal:
        return [refusal]
    return []


def _load(release: Release, replaced: Release | None) -> Load:
    parameters = {
        "pipeline": release.pipeline_id,
        "release": release.pk,
        "replaced": replaced.pk if replaced else None,
        "most": MOST_COUNTED + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, parameters)
        [counts] = cursor.fetchall()
    return Load(*counts)


def open_questions(release: Release) -> int:
    """Return how many questions of the executions of a release are open, at most MOST_COUNTED + 1."""
    with connection.cursor() as cursor:
        cursor.execute(_QUESTIONS, {"replaced": release.pk, "most": MOST_COUNTED + 1})
        [(count,)] = cursor.fetchall()
    return int(count)


def _capacity(hosts: Hosts, load: Load) -> list[Caution]:
    if not hosts.eligible or hosts.capacity >= load.running:
        return []
    at_once = counted(hosts.capacity, "execution")
    detail = f"The workers run {at_once} at a time, and {load.running:,} of the pipeline run now."
    return [Caution(Concern.CAPACITY, detail)]


def _breaking(differences: tuple[Difference, ...]) -> list[Caution]:
    count = sum(difference.impact is Impact.BREAKING_FOR_CALLERS for difference in differences)
    return [Caution(Concern.CALLERS, f"Differences that are breaking for callers: {count:,}.")] if count else []


def _children(release: Release) -> Iterator[Caution]:
    if calls_pipelines(release.pk, release.contract_version):
        from governance.reports import child_pipelines  # most releases call no pipeline

        yield from (Caution(Concern.CHILDREN, text) for text in child_pipelines.problems(release))


def _schedules(release: Release, replaced: Release | None) -> Iterator[Caution]:
    from executions.schedules import schedules  # many installations need it never

    refused = schedules.refusals(release, timezone.now())
    for name, detail in islice(refused.items(), SCHEDULES_NAMED):
        yield Caution(Concern.SCHEDULES, f"The input of the schedule {name} would be refused: {detail}")
    if len(refused) > SCHEDULES_NAMED:
        detail = f"The inputs of {len(refused) - SCHEDULES_NAMED:,} other schedules would be refused, too."
        yield Caution(Concern.SCHEDULES, detail)
    if replaced is not None and (names := schedules.submitting_to(replaced, is_active=False)):
        listed = ", ".join(names[:SCHEDULES_NAMED]) + (", …" if len(names) > SCHEDULES_NAMED else "")
        detail = f"Schedules that name release {replaced.release_version} are refused once it is not open: {listed}."
        yield Caution(Concern.SCHEDULES, detail)


def _failing(inputs: Callers) -> list[Caution]:
    if not inputs.failing:
        return []
    names = sum(caller.failing > 0 for caller in inputs.callers)
    detail = f"{inputs.failing:,} of {inputs.checked:,} recent inputs would be refused. Callers concerned: {names:,}."
    return [Caution(Concern.INPUTS, detail)]
