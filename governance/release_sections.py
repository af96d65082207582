"""What the pages of a release and of its activation say about executions, workers and the contract."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlencode

from django.urls import reverse

from executions.admin import workers as worker_pages
from executions.console.filters import STATE_VARIANTS
from executions.inspection.counts import MOST_READ, counts_of
from executions.models import WorkerEligibility
from executions.models.states import State
from executions.search.conditions import HELD
from governance.activation.gates import Gate, Switch, Verdict
from governance.comparison.pages import context_of
from governance.preflight.preflight import preflight_of
from governance.retirement.retirement import FAILURES, REQUESTS, STATUSES, Blocker, Kind, blockers
from releases.models import Release
from wire.documents.contract import Contract, Step
from wire.documents.json_reader import shown

LABELS = {
    Kind.ACTIVE: "Active release of its pipeline",
    Kind.APPROVAL: "Requests to activate it that collect votes",
    Kind.SCHEDULE: "Approved requests to activate it",
    Kind.GRADUAL: "Running gradual activation of its pipeline",
    Kind.SKEW_GRACE: "Open to callers that name it: the grace of the policy has not ended",
    Kind.QUEUED: "Queued executions",
    Kind.RUNNING: "Running executions",
    Kind.RETRYING: "Executions that wait for a retry",
    Kind.WAITING: "Executions that wait for an answer",
    Kind.FAILED: "Failures that could be re-driven (FAILED)",
    Kind.DEAD_LETTERED: "Failures that could be re-driven (DLQ)",
    Kind.CAMPAIGN: "Unfinished campaigns that would re-drive its executions",
}


def needed(release: Release) -> dict[str, Any]:
    """Return what still needs the release, if it is registered."""
    found = blockers(release) if release.status == "REGISTERED" else []
    only_failures = bool(found) and all(each.kind in FAILURES for each in found)
    return {"lines": lines_of(release, found), "only_failures": only_failures}


def lines_of(release: Release, found: Iterable[Blocker]) -> list[dict[str, Any]]:
    """Return a line for each blocker of a release, with a link to exactly its rows."""
    return [{"label": LABELS[each.kind], "count": each.count, "href": _link(release, each)} for each in found]


def _link(release: Release, blocker: Blocker) -> str:
    if blocker.kind in {Kind.ACTIVE, Kind.GRADUAL, Kind.SKEW_GRACE}:
        return reverse("admin:releases_pipeline_change", args=[release.pipeline_id])
    tenant = release.pipeline.tenant.slug
    if blocker.kind in REQUESTS:
        query = {"release": str(release.pk), "status": REQUESTS[blocker.kind]}
        return f"{reverse('admin:releases_activationrequest_changelist')}?{urlencode(query)}"
    if blocker.kind is Kind.CAMPAIGN:
        query = {"release": str(release.pk)}
        return f"{reverse('admin:executions_campaign_changelist')}?{urlencode(query)}"
    query = {
        "status": _searched(STATUSES[blocker.kind]),
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": tenant,
        **({"smoke": "no"} if blocker.kind in FAILURES else {}),
    }
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(query)}"


def _searched(status: str) -> str:
    """Return the filter of the list of executions that finds those with a status."""
    return HELD if status == State.RUNNING else status


def executions(release: Release) -> dict[str, Any]:
    """Return how many executions of the release are in which state."""
    found = counts_of(release)
    shared = {
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": release.pipeline.tenant.slug,
    }

    def link(model: str, **filters: str) -> str:
        return f"{reverse(f'admin:executions_{model}_changelist')}?{urlencode({**filters, **shared})}"

    return {
        "counts": [
            (each, STATE_VARIANTS[each.status], link("execution", status=_searched(each.status)))
            for each in found.counts
        ],
        "errors": [(code, count, link("deadletter", error=code)) for code, count in found.errors],
        "errors_complete": found.errors_complete,
        "is_complete": all(each.is_complete for each in found.counts),
        "most": MOST_READ,
    }


WORKERS_SHOWN = 50
DIFFERENCES_SHOWN = 5


def workers(release: Release) -> dict[str, Any]:
    """Return the workers of the release that have not stopped, the newest heartbeats first."""
    rows = WorkerEligibility.objects.filter(release=release, worker__stopped_at=None)
    hosts = list(rows.select_related("worker").order_by("-worker__last_heartbeat_at", "pk")[: WORKERS_SHOWN + 1])
    images = worker_pages.images_of(release)
    lines = [_line(host, images) for host in hosts[:WORKERS_SHOWN]]
    return {"lines": lines, "more": len(hosts) > WORKERS_SHOWN, "images": images}


def _line(host: WorkerEligibility, images: list[tuple[str, str]]) -> dict[str, object]:
    worker = host.worker
    code, environment = worker_pages.code_of(worker), worker_pages.environment_of(worker)
    differences = worker.environment["differences"][:DIFFERENCES_SHOWN] if worker.environment else []
    return {
        "worker": worker,
        "host": host,
        "of_image": worker_pages.declares_image(worker, images),
        "variant": worker_pages.WORKER_VARIANTS[host.state],
        "code": code,
        "code_variant": worker_pages.CODE_VARIANTS[code],
        "environment": environment,
        "environment_variant": worker_pages.ENVIRONMENT_VARIANTS[environment],
        "differences": differences,
        "more_differences": worker.difference_count - len(differences),
    }


GATE_VARIANTS = {Verdict.MET: "success", Verdict.WARNING: "warning", Verdict.UNMET: "danger"}
ENDED = {*FAILURES, Kind.CAMPAIGN}


def preview(switch: Switch, judged: list[Gate]) -> dict[str, Any]:
    """Return what would happen if the planned activation happened now."""
    found = preflight_of(switch, judged)
    active = found.active
    return {
        "preflight": found,
        "gates": [(gate, GATE_VARIANTS[gate.verdict]) for gate in found.gates],
        "staying": sum(each.count for each in found.remaining if each.kind not in ENDED),
        "remaining": lines_of(active, found.remaining) if active else [],
        **context_of(found.differences),
    }


def open_holds(*rows: Any) -> list[Any]:
    """Return the open holds of these rows. Each row has a relation `holds`."""
    return [hold for row in rows for hold in row.holds.filter(ended_at=None).select_related("release")]


# --- the contract: the picture of its steps, and what its types consist of ---

MOST_STEPS: Final = 50
LONGEST_TEXT: Final = 34
WIDTH: Final = 320
BOX: Final = 46
GAP: Final = 44
_TOP: Final = 34
MOST_TYPES: Final = 100
MOST_PARTS: Final = 200
_UNKNOWN: Final = "a form that the coordinator does not know"
_STRUCTURE: Final = frozenset({"id", "kind", "fields", "variants", "wraps", "target"})


@dataclass(frozen=True, slots=True)
class Box:
    """A step. `y` is its upper edge. `is_await` is true if it waits for an answer from outside."""

    y: int
    name: str
    note: str
    is_await: bool


@dataclass(frozen=True, slots=True)
class Arrow:
    """The type that goes into a step or comes out of the last one. `y` is where the arrow begins."""

    y: int
    label: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """What a template draws. `more` is how many steps are left out."""

    boxes: list[Box]
    arrows: list[Arrow]
    height: int
    more: int
    width: int = WIDTH
    box_height: int = BOX
    gap: int = GAP


def diagram(contract: Contract) -> Diagram:
    steps = contract.steps[:MOST_STEPS]
    boxes = [_box(step, _TOP + index * (BOX + GAP)) for index, step in enumerate(steps)]
    arrows = [Arrow(_TOP + index * (BOX + GAP) - GAP, label) for index, label in enumerate(_labels(steps))]
    return Diagram(boxes, arrows, _TOP + len(steps) * (BOX + GAP), len(contract.steps) - len(steps))


def _box(step: Step, y: int) -> Box:
    is_await = step.await_transport is not None or step.deferred_completion is not None
    over = f" over {step.await_transport}" if step.await_transport else ""
    note = ", ".join(
        part for part in (f"{step.kind}{over}", (step.cardinality or "").replace("_", " ").lower()) if part
    )
    return Box(y, _end(f"{step.index}. {step.authored_name or 'unnamed'}"), _end(note), is_await)


def _labels(steps: tuple[Step, ...]) -> list[str]:
    """Return a label above each step, and one below the last."""
    if not steps:
        return []
    labels = [_tail(steps[0].input_type_id)]
    for before, after in pairwise(steps):
        left, right = before.output_type_id, after.input_type_id
        same = left == right or left is None or right is None
        labels.append(_tail(left or right) if same else _tail(f"{left} → {right}"))
    return [*labels, _tail(steps[-1].output_type_id)]


def _end(text: str) -> str:
    """Return the text without what is too long at its end."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _tail(text: str | None) -> str:
    """Return the text without what is too long at its beginning: the end of a class name tells more."""
    text = text or "no type"
    return text if len(text) <= LONGEST_TEXT else f"…{text[1 - LONGEST_TEXT :]}"


# --- types ---


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a record, a variant of a union, or what a wrapper or alias stands for."""

    name: str
    type: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A type. `more` is how many of its parts are left out."""

    name: str
    kind: str
    parts: list[Part]
    more: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The types in the order of their names. `more` is how many are left out."""

    types: list[Listed]
    more: int


def listing(canonical_types: Mapping[str, Any]) -> Listing:
    names = sorted(canonical_types)
    return Listing(
        [_listed(name, canonical_types[name]) for name in names[:MOST_TYPES]], max(0, len(names) - MOST_TYPES)
    )


def _listed(name: str, entry: Any) -> Listed:
    definition = entry.get("definition") if isinstance(entry, Mapping) else None
    if not isinstance(definition, Mapping):
        return Listed(shown(name), "not defined by the contract", [], 0)
    parts = list(_parts(definition))
    return Listed(shown(name), _text(definition.get("kind")), parts[:MOST_PARTS], max(0, len(parts) - MOST_PARTS))


def _parts(definition: Mapping[str, Any]) -> Iterator[Part]:
    for field in _objects(definition.get("fields")):
        note = "optional" if field.get("optional") is True else "required"
        many = "list of " if field.get("repeated") is True else ""
        yield Part(_text(field.get("name")), many + type_text(field.get("type")), note)
    for variant in _objects(definition.get("variants")):
        yield Part(_text(variant.get("discriminator")), type_text(variant.get("payload")))
    for member in ("wraps", "target"):
        if member in definition:
            yield Part(member, type_text(definition[member]), _rules(definition))


def _rules(definition: Mapping[str, Any]) -> str:
    """Return the other members of a wrapper, such as its bounds."""
    rules = {name: value for name, value in definition.items() if name not in _STRUCTURE}
    return shown(", ".join(f"{name} {value}" for name, value in rules.items() if isinstance(value, str | int | float)))


def type_text(expression: Any) -> str:
    """Return what a type expression says, in a few words."""
    if isinstance(expression, str):
        return shown(expression)
    if not isinstance(expression, Mapping):
        return _UNKNOWN
    if expression.get("kind") == "map":
        key = expression.get("key")
        key_text = _text(key.get("id") if isinstance(key, Mapping) else key)
        value = expression.get("value")
        nested = isinstance(value, Mapping) and value.get("kind") == "map"
        return f"map of {key_text} to {'a map' if nested else type_text(value)}"
    return _text(expression.get("id"))


def _objects(items: Any) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()


def _text(value: Any) -> str:
    return shown(value) if isinstance(value, str) and value else "-"
