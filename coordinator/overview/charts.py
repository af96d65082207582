"""The charts of the overview: what finished and what failed, by release, with the activations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from executions.statistics.finished import Series
from foundation.admin.charts import Chart, Layer, Mark, stacked
from releases.models import SWITCHES, Activation, Release

RELEASES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Panel:
    """The two charts of a period. `interval` names the length of a bar, `since` is the start of the first."""

    title: str
    interval: str
    since: datetime
    finished: Chart
    failed: Chart
    activations: Sequence[Activation]

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        """The same as a table: for each release, how many executions finished and failed."""
        pairs = zip(self.finished.layers, self.failed.layers, strict=True)
        return [(finished.name, finished.total, failed.total) for finished, failed in pairs if finished.total]


def panels(
    hour: Series, day: Series, releases: Mapping[int, Release], activations: Sequence[Activation]
) -> list[Panel]:
    """Return the charts of the last hour and day. Each release has the same place, and so the same colour, in all."""
    ids = {*hour.releases, *day.releases}
    ordered = sorted(ids, key=lambda pk: (-day.total(pk).finished, pk))
    names = {pk: name_of(releases[pk], {each: releases[each] for each in ids}) for pk in ordered}
    return [
        _panel("Last hour", "minute", hour, names, activations),
        _panel("Last 24 hours", "hour", day, names, activations),
    ]


def _panel(
    title: str, interval: str, series: Series, names: Mapping[int, str], activations: Sequence[Activation]
) -> Panel:
    """Return the charts of a window. `names` has the releases in the order of their layers."""
    switches = [each for each in activations if each.kind in SWITCHES and each.activated_at >= series.window.since]
    marks = [Mark(series.window.position(each.activated_at), _switch(each)) for each in switches]
    ordered = list(names)

    def chart(member: str) -> Chart:
        layers = [Layer(names[pk], series.values(pk, member)) for pk in ordered[:RELEASES_SHOWN]]
        others = [series.values(pk, member) for pk in ordered[RELEASES_SHOWN:]]
        if others:
            layers.append(Layer(f"{len(others)} others", [sum(values) for values in zip(*others, strict=True)]))
        return stacked(layers, marks)

    return Panel(title, interval, series.window.since, chart("finished"), chart("failed"), switches)


def name_of(release: Release, among: Mapping[int, Release]) -> str:
    """Return the version of a release, after its pipeline if `among` has releases of several pipelines."""
    several = len({each.pipeline_id for each in among.values()}) > 1
    return f"{release.pipeline.pipeline_id} {release.release_version}" if several else release.release_version


def _switch(activation: Activation) -> str:
    return f"{activation.get_kind_display()}: {activation.pipeline.pipeline_id} {activation.release.release_version}"
