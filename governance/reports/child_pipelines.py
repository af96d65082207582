"""Whether the pipelines that a release calls could run its children now (ADR 129). Changes nothing."""

from collections.abc import Iterator

from releases import pointer, queries
from releases.errors import NoActiveRelease, PipelineUnknown, ReleaseNotOpen, ReleaseUnknown
from releases.models import Release
from releases.states import Status
from wire.comparison.differences import Impact
from wire.comparison.steps import stored_differences
from wire.documents.contract import Contract, Step, contract_from_json


def problems(release: Release) -> Iterator[str]:
    """Yield what keeps a step of the release, which calls pipelines, from running its child.

    The types are compared as those of parked work: whether each request is an input, and each result an answer.
    """
    contract = _contract(release)
    for step in contract.steps if contract is not None else ():
        if step.calls_pipeline is not None and contract is not None:
            yield from _problems(release, contract, step)


def _problems(release: Release, contract: Contract, step: Step) -> Iterator[str]:
    place = f"Step {step.authored_name or step.index + 1} calls pipeline {step.calls_pipeline}"
    try:
        pipeline = queries.pipeline(release.pipeline.tenant, step.calls_pipeline or "")
        if step.calls_release is not None:
            called = queries.release(pipeline, step.calls_release)
            pointer.require_open(called)
        else:
            called = queries.active_release(pipeline)
    except PipelineUnknown:
        yield f"{place}, which does not exist."
        return
    except (NoActiveRelease, ReleaseNotOpen, ReleaseUnknown) as refusal:
        yield f"{place}: {refusal.detail}"
        return
    if called.status != Status.REGISTERED:
        yield f"{place}, whose release {called.release_version} is {called.status}."
        return
    child = _contract(called)
    if child is None or not child.steps:
        return
    path = f"steps[{step.index}]"
    request, result = (contract, step.input_type_id), (child, child.steps[-1].output_type_id)
    for stored, taken, text in (
        (request, (child, child.steps[0].input_type_id), "accepts not all requests of the step"),
        (result, (contract, step.output_type_id), "has results that are no answers of the step"),
    ):
        differences = [each for each in stored_differences(path, stored, taken) if each.impact != Impact.COMPATIBLE]
        if differences:
            first = differences[0]
            values = f"{first.before or 'none'} → {first.after or 'none'}"
            yield f"{place}, whose release {called.release_version} {text}: {first.path}, {values}."


def _contract(release: Release) -> Contract | None:
    return contract_from_json(release.contract.document) if release.contract else None
