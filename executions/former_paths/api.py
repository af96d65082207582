"""REST: the paths and members of questions that say interaction. The next version removes them."""

from functools import partial
from typing import Any, ClassVar

from django.urls import path
from rest_framework import serializers

from executions.awaits import api
from executions.awaits.api import FORMER_ID_HELP, AnswerRequest, CompletionView, QuestionView, any_of
from foundation.api.fields import Uuid
from tenancy.api.operations import former


def with_question_id(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members with `question_id` from `interactionId`, its former name. Both may be given if they agree."""
    former_id = members.pop("interactionId")
    if former_id is not None and members["question_id"] not in {None, former_id}:
        raise serializers.ValidationError({"interactionId": "differs from questionId"})
    return {**members, "question_id": members["question_id"] or former_id}


class CompleteRequest(AnswerRequest):
    """A response to a question as the former path takes it."""

    schema_rules: ClassVar = any_of("questionId", "interactionId", "correlationId", "resumeToken", required="response")

    interactionId = Uuid(required=False, allow_null=True, default=None, help_text=FORMER_ID_HELP)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return super().validate(with_question_id(attrs))


class InteractionView(QuestionView):
    """A question as the former paths return it."""

    interactionId = serializers.UUIDField(source="id", help_text=FORMER_ID_HELP)


_former = partial(former, shown=InteractionView)
_QUESTION = "interactions/<uuid:question_id>"
urlpatterns = [
    path("interactions", _former(api.list_questions, "interactions_list")),
    path(
        "interactions/complete",
        former(api.answer_question, "completeInteraction", CompletionView, body=CompleteRequest),
    ),
    path(f"{_QUESTION}/claim", _former(api.claim_question, "claimInteraction")),
    path(f"{_QUESTION}/release", _former(api.release_question, "releaseInteraction")),
    path(f"{_QUESTION}/delegate", _former(api.delegate_question, "delegateInteraction")),
    path(f"{_QUESTION}/reassign", _former(api.reassign_question, "reassignInteraction")),
    path(_QUESTION, _former(api.one_question, "interaction")),
]
