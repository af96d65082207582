"""Whether the pipelines that a release calls could run its children now (ADR 129). Changes nothing."""

from collections.abc import Iterator
from typing import Final

from releases import pointer, queries
from releases.errors import NoActiveRelease, PipelineUnknown, ReleaseNotOpen, ReleaseUnknown
from releases.models import Release
from releases.states import Status
from wire.comparison.differences import Impact
from wire.comparison.steps import stored_differences
from wire.documents.contract import Contract, Step, contract_from_json, gives_many, takes_many

_NUMBERS: Final = {False: "one value", True: "a list"}


def problems(release: Release) -> Iterator[str]:
    """Yield what keeps a step of the release, which calls pipelines, from running its child.

    The types are compared as those of parked work: whether each request is an input, and each result an answer. So are
    their numbers: one value, or a list.
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
    if child is not None and child.steps:
        texts = [*_numbers(step, child), *_types(contract, step, child)]
        yield from (f"{place}, whose release {called.release_version} {text}." for text in texts)


def _numbers(step: Step, child: Contract) -> Iterator[str]:
    """Yield where one side has one value and the other one a list."""
    for needed, taken, text in (
        (takes_many(step.cardinality), takes_many(child.steps[0].cardinality), "takes {found}, but gets {needed}"),
        (gives_many(step.cardinality), child.result_shape != "SINGLE", "gives {found}, but must give {needed}"),
    ):
        if needed is not taken:
            yield text.format(found=_NUMBERS[taken], needed=_NUMBERS[needed])


def _types(contract: Contract, step: Step, child: Contract) -> Iterator[str]:
    """Yield the first difference between what one side gives and what the other one takes."""
    path = f"steps[{step.index}]"
    request, result = (contract, step.input_type_id), (child, child.steps[-1].output_type_id)
    for stored, taken, text in (
        (request, (child, child.steps[0].input_type_id), "accepts not all requests of the step"),
        (result, (contract, step.output_type_id), "has results that are no answers of the step"),
    ):
        differences = [
            difference
            for difference in stored_differences(path, stored, taken)
            if difference.impact != Impact.COMPATIBLE
        ]
        if differences:
            first = differences[0]
            yield f"{text}: {first.path}, {first.before or 'none'} → {first.after or 'none'}"


def _contract(release: Release) -> Contract | None:
    return contract_from_json(release.contract.document) if release.contract else None
