"""The part of the page of an activation that says what it would do."""

from executions.admin.release_retirement import lines_of
from executions.inspection.preflight import preflight_of
from releases.activation.gates import Gate, Switch, Verdict
from releases.activation.retirement import FAILURES, Kind
from releases.admin.activations import preview_sources
from releases.admin.comparison import context_of
from releases.admin.sections import Section

VARIANTS = {Verdict.MET: "success", Verdict.WARNING: "warning", Verdict.UNMET: "danger"}
ENDED = {*FAILURES, Kind.CAMPAIGN}


def preview(switch: Switch, judged: list[Gate]) -> Section:
    """Return what would happen if the planned activation happened now."""
    found = preflight_of(switch, judged)
    active = found.active
    section = {
        "preflight": found,
        "gates": [(gate, VARIANTS[gate.verdict]) for gate in found.gates],
        "staying": sum(each.count for each in found.remaining if each.kind not in ENDED),
        "remaining": lines_of(active, found.remaining) if active else [],
        **context_of(found.differences),
    }
    return Section("executions/preflight.html", section)


preview_sources.append(preview)
