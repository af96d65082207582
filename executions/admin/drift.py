"""The drift on the page of a pipeline."""

from executions.inspection.drift import Kind, drift
from releases.admin.pipelines import section_sources
from releases.admin.sections import Section
from releases.models import Pipeline

SHOWN = 50
VARIANTS = {
    Kind.CONTRACT: "danger",
    Kind.ARTIFACT: "danger",
    Kind.ENVIRONMENT: "warning",
    Kind.DEPLOYMENT: "danger",
    Kind.CALLERS: "info",
}


def drift_of(pipeline: Pipeline) -> Section:
    found = drift(pipeline.tenant, pipeline)
    lines = [(each, VARIANTS[each.kind]) for each in found[:SHOWN]]
    return Section("executions/drift.html", {"lines": lines, "more": max(len(found) - SHOWN, 0)})


section_sources.append(drift_of)
