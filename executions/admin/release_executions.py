"""The executions on the page of a release: a count for each state, and the most frequent errors, each with a link."""

from urllib.parse import urlencode

from django.urls import reverse

from executions.admin.filters import STATE_VARIANTS
from executions.admin.release_retirement import STATUSES
from executions.inspection.release_counts import MOST_READ, counts_of
from executions.models.states import State
from releases.activation.retirement import Kind
from releases.admin.releases import section_sources
from releases.admin.sections import Section
from releases.models import Release

_FILTERS = {State.RUNNING.value: STATUSES[Kind.RUNNING]}


def executions(release: Release) -> Section:
    """Return how many executions of the release are in which state."""
    found = counts_of(release)
    shared = {
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": release.pipeline.tenant.slug,
    }

    def link(model: str, **filters: str) -> str:
        return f"{reverse(f'admin:executions_{model}_changelist')}?{urlencode({**filters, **shared})}"

    section = {
        "counts": [
            (each, STATE_VARIANTS[each.status], link("execution", status=_FILTERS.get(each.status, each.status)))
            for each in found.counts
        ],
        "errors": [(code, count, link("deadletter", error=code)) for code, count in found.errors],
        "errors_complete": found.errors_complete,
        "is_complete": all(each.is_complete for each in found.counts),
        "most": MOST_READ,
    }
    return Section("executions/release_executions.html", section)


section_sources.append(executions)
