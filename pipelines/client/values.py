"""Values of a pipeline as callers of the coordinator have them: typed if the pipeline is at hand, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordinator_client.errors import AnswerInvalid, ClientError, InputInvalid
from pipelines.authoring.definition import Pipeline
from wire.identity import step_id

if TYPE_CHECKING:
    from pipelines.authoring.values import ValueMismatch

Target = Pipeline | str


def id_of(pipeline: Target) -> str:
    return pipeline if isinstance(pipeline, str) else pipeline.pipeline_id


def input_of(pipeline: Target, value: Any) -> Any:
    """Return the JSON of an input. Raises ``InputInvalid``."""
    from pipelines.authoring.plan import plan
    from pipelines.authoring.values import ValueMismatch, jsonable

    try:
        if isinstance(pipeline, str):
            return jsonable(value)
        first = plan(pipeline).steps[0]
        if not first.cardinality.takes_many:
            return first.input.accept(value).document
        return [item.document for item in first.input.accept_all(value)]
    except ValueMismatch as mismatch:
        raise InputInvalid(422, {}, _problem("INPUT_INVALID", "input", mismatch)) from None


def json_of(value: Any) -> Any:
    """Return the JSON of an answer whose type is not known here. Raises ``AnswerInvalid``."""
    return answer_of("", "", value)


def answer_of(pipeline: Target, step: str, value: Any) -> Any:
    """Return the JSON of the answer to a question of a step, by its name or its id. Raises ``AnswerInvalid``."""
    from pipelines.authoring.plan import plan
    from pipelines.authoring.values import ValueMismatch, jsonable

    try:
        if isinstance(pipeline, str):
            return jsonable(value)
        steps = [
            planned
            for planned in plan(pipeline).steps
            if planned.waits is not None and step_id(planned.name) == step_id_of(step)
        ]
        if not steps or isinstance(value, list | tuple):
            return jsonable(value)
        return steps[0].output.accept(value).document
    except ValueMismatch as mismatch:
        raise AnswerInvalid(422, {}, _problem("ANSWER_INVALID", "response", mismatch)) from None


def request_of(pipeline: Target, step_index: int, document: Any) -> Any:
    """Return the request of a question, typed if the pipeline is at hand and has this step."""
    from pipelines.authoring.plan import plan
    from pipelines.authoring.values import ValueMismatch

    if isinstance(pipeline, str) or not 0 <= step_index < len(pipeline.parts):
        return document
    request = plan(pipeline).steps[step_index].input
    try:
        return [request.decode(item) for item in document] if isinstance(document, list) else request.decode(document)
    except ValueMismatch:
        return document


def result_of(pipeline: Target, document: Any, hint: Any) -> Any:
    """Return a result as a value of ``hint``, or of the pipeline's last step, or as JSON if neither is known.

    Raises ``ClientError`` if it is no such value.
    """
    from pydantic import TypeAdapter, ValidationError

    from pipelines.authoring.plan import plan
    from pipelines.authoring.values import ValueMismatch

    try:
        if hint is not None:
            from pydantic_core import to_json

            return TypeAdapter(hint).validate_json(to_json(document), strict=True)
        if isinstance(pipeline, str):
            return document
        last = plan(pipeline).steps[-1]
        if isinstance(document, list):
            return [last.output.decode(item) for item in document]
        return last.output.decode(document)
    except (ValueMismatch, ValidationError) as mismatch:
        message = f"the result has another type; read it as JSON with result(object): {mismatch}"
        raise ClientError(message) from None


def step_id_of(step: str) -> str:
    """Return the id of a step whose name or id is given."""
    return step if step.startswith("Process") and step.endswith("Service") and " " not in step else step_id(step)


def _problem(code: str, member: str, mismatch: ValueMismatch) -> dict[str, Any]:
    """Return the problem that the coordinator would return: fields are named from the member of the request."""
    from pipelines.authoring.values import summary

    findings = [(f"{member}{path}", rule) for path, rule in mismatch.findings]
    errors = [{"field": field, "message": rule} for field, rule in findings]
    return {"code": code, "detail": summary(findings, mismatch.more), "errors": errors}
