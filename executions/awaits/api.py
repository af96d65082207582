"""REST: lists questions, and answers them. The former paths are in `executions.former_paths.api`."""

import uuid
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.urls import path, reverse
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions import errors
from executions.awaits import claims, questions, reassignment, recipients
from executions.awaits.questions import Answered
from executions.inspection.api import BUSINESS_KEY_HELP
from executions.models import IS_CLAIMED, Interaction
from executions.search_steps import questions_of_step
from foundation.api.fields import Flag, Identifier, StrictSerializer, Text, Uuid
from foundation.api.pagination import FlagFilter
from tenancy.api.authentication import holds_any, withhold
from tenancy.api.operations import TenantView, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope
from wire.resume_token import LONGEST

PENDING = "pending"
PAYLOAD_HELP = "Null if the token has neither of the scopes `payloads:read` and `interactions:complete`."
REFUSALS = (
    errors.ResumeTokenInvalid,
    errors.QuestionUnknown,
    errors.AwaitTimedOut,
    errors.QuestionClosed,
    errors.AnswerInvalid,
)
RESPONSE_HELP = "Any JSON of the contract's type. If one answer has many items, this is an array of them."
FORMER_ID_HELP = "Deprecated: the former name of `questionId`. The next version removes it."


def any_of(*names: str, required: str) -> dict[str, Any]:
    """Return the JSON Schema rule that one of these members, which are texts, is neither absent nor null.

    The rule depends on `required`, a member that is never absent: openapi-generator makes of a plain `anyOf` a class
    without the members.
    """
    rules = [{"required": [name], "properties": {name: {"type": "string"}}} for name in names]
    return {"dependentSchemas": {required: {"anyOf": rules}}}


class AnswerRequest(StrictSerializer):
    """A response to a question, which is identified in one way, or in several that agree."""

    schema_rules: ClassVar = any_of("questionId", "correlationId", "resumeToken", required="response")

    questionId = Uuid(
        required=False, allow_null=True, default=None, source="question_id", help_text="The id of the question."
    )
    correlationId = Identifier(
        max_length=200,
        required=False,
        allow_null=True,
        default=None,
        source="correlation_id",
        help_text="Names the question if no other one has it.",
    )
    resumeToken = Text(
        max_length=LONGEST,
        required=False,
        allow_null=True,
        default=None,
        source="resume_token",
        help_text="The token of the question, which names it too.",
    )
    response = serializers.JSONField(allow_null=True, help_text=RESPONSE_HELP)
    note = Text(
        max_length=claims.LONGEST_NOTE,
        required=False,
        allow_blank=True,
        default="",
        help_text="For people. It is stored with the response, and the pipeline does not get it.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if all(attrs[name] is None for name in ("question_id", "correlation_id", "resume_token")):
            raise serializers.ValidationError(
                {"questionId": serializers.ErrorDetail("or correlationId or resumeToken is required", "required")}
            )
        return attrs


class ClaimRequest(StrictSerializer):
    takeOver = Flag(
        required=False,
        default=False,
        source="take_over",
        help_text="Take over the claim of another caller, which otherwise is an error.",
    )


class DelegateRequest(ClaimRequest):
    to = Text(max_length=150, help_text="The user name of a member of the tenant whose role may respond.")
    note = Text(
        max_length=claims.LONGEST_NOTE, required=False, allow_blank=True, default="", help_text="For this person."
    )


class ReassignRequest(StrictSerializer):
    """The new recipients: a person, a group, or both."""

    schema_rules: ClassVar = any_of("assignee", "group", required="reason")

    assignee = Identifier(
        max_length=recipients.LONGEST_RECIPIENT,
        required=False,
        allow_null=True,
        default=None,
        help_text="A user name, or an e-mail address.",
    )
    group = Identifier(
        max_length=recipients.LONGEST_RECIPIENT,
        required=False,
        allow_null=True,
        default=None,
        help_text="A group of members.",
    )
    reason = Text(max_length=claims.LONGEST_NOTE)


class ResumeRequest(StrictSerializer):
    resumeToken = Text(max_length=LONGEST)
    response = serializers.JSONField(allow_null=True, help_text=RESPONSE_HELP)
    actor = Identifier(
        max_length=150,
        required=False,
        allow_null=True,
        default=None,
        help_text="Who responds, as the caller knows them.",
    )


class QuestionView(serializers.Serializer[Interaction]):
    questionId = serializers.UUIDField(source="id")
    correlationId = serializers.CharField(source="correlation_id")
    executionId = serializers.UUIDField(source="execution_id")
    businessKey = serializers.CharField(source="execution.business_key", help_text=BUSINESS_KEY_HELP)
    pipelineId = serializers.CharField(source="execution.pipeline_id")
    stepId = serializers.CharField(source="step_id", help_text="The id of the step in messages to workers.")
    stepName = serializers.CharField(source="step.title", help_text="The author's name of the step.")
    stepIndex = serializers.IntegerField(source="step_index")
    itemIndex = serializers.IntegerField(source="item_index", allow_null=True)
    outputType = serializers.CharField(source="output_type")
    status = serializers.ChoiceField(choices=Interaction.Status.choices)
    request = serializers.JSONField(help_text=f"The request of the execution. {PAYLOAD_HELP}")
    assignee = serializers.CharField(allow_null=True, help_text="Who should respond: a user name or an e-mail address.")
    group = serializers.CharField(allow_null=True, help_text="The group whose members should respond.")
    restricted = serializers.SerializerMethodField(
        help_text="True if the policy lets only the assignee and members with the group respond."
    )
    mayAnswer = serializers.SerializerMethodField(
        method_name="get_may_answer",
        help_text="Whether the caller may respond while it is open: the token has the scope, and its owner is one of "
        "the recipients if they are enforced.",
    )
    transport = serializers.CharField()
    transportMetadata = serializers.DictField(source="transport_metadata", child=serializers.CharField())
    deadline = serializers.DateTimeField()
    response = serializers.JSONField(
        help_text=f"The first response. Later ones have no effect. {PAYLOAD_HELP}", allow_null=True
    )
    actor = serializers.CharField(allow_null=True)
    completedAt = serializers.DateTimeField(source="completed_at", allow_null=True)
    note = serializers.CharField(allow_null=True, help_text="The note of the actor, for people.")
    channel = serializers.ChoiceField(
        choices=Interaction.Channel.choices,
        allow_null=True,
        help_text="How the response came. Null for timers, and if the worker reported the response.",
    )
    claimedBy = serializers.CharField(
        source="claimed_by", allow_null=True, help_text="Who last claimed it. Others may respond all the same."
    )
    claimedUntil = serializers.DateTimeField(
        source="claimed_until", allow_null=True, help_text="The claim has run out if this time has passed."
    )
    delegate = serializers.CharField(allow_null=True, help_text="To whom it was passed on last.")
    dispatchAttempts = serializers.IntegerField(source="dispatch_attempts")
    lastDispatchError = serializers.CharField(source="last_dispatch_error")
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")
    links = serializers.SerializerMethodField()

    def get_restricted(self, question: Interaction) -> bool:
        return question.pk in self.context["restricted"]

    def get_may_answer(self, question: Interaction) -> bool:
        request: Request = self.context["request"]
        if not holds_any(request.auth, Scope.ANSWER):
            return False
        return not self.get_restricted(question) or question.pk in self.context["answerable"](request.user)

    def to_representation(self, instance: Interaction) -> dict[str, Any]:
        shown = super().to_representation(instance)
        withhold(["request", "response"], shown, self.context, Scope.ANSWER)
        return shown

    @extend_schema_field(
        {
            "type": "object",
            "required": ["self", "execution"],
            "properties": {
                "self": {"type": "string", "format": "uri"},
                "execution": {"type": "string", "format": "uri"},
            },
        }
    )
    def get_links(self, question: Interaction) -> dict[str, str]:
        request: Request = self.context["request"]
        names = {"self": ("api:question", question.pk), "execution": ("api:execution", question.execution_id)}
        slug = question.tenant.slug
        return {key: request.build_absolute_uri(reverse(name, args=(slug, pk))) for key, (name, pk) in names.items()}


class AnsweredView(serializers.Serializer[Answered]):
    """An answered question. For a `duplicate`, the response and the actor are the first ones."""

    questionId = serializers.UUIDField(source="question.id")
    executionId = serializers.UUIDField(source="question.execution_id")
    stepId = serializers.CharField(source="question.step_id")
    stepName = serializers.CharField(source="question.step.title")
    status = serializers.ChoiceField(choices=Interaction.Status.choices, source="question.status")
    response = serializers.JSONField(source="question.response", allow_null=True)
    actor = serializers.CharField(source="question.actor")
    completedAt = serializers.DateTimeField(source="question.completed_at")
    duplicate = serializers.BooleanField()


class CompletionView(AnsweredView):
    """An answered question as the former path and `resume` return it."""

    interactionId = serializers.UUIDField(source="question.id", help_text=FORMER_ID_HELP)


class QuestionFilter(filters.FilterSet):
    status = filters.ChoiceFilter(
        choices=[(PENDING, "waits for a response"), *((value, value) for value in Interaction.Status.values)],
        method="by_status",
        help_text="`pending` selects all questions that wait for a response.",
    )
    assignee = filters.CharFilter(help_text="Who should respond.")
    group = filters.CharFilter(help_text="The group that should respond.")
    stepId = filters.CharFilter(field_name="step_id", help_text="The id of the step in messages to workers.")
    transport = filters.CharFilter(help_text="The question's transport, such as `interaction-api`.")
    pipelineId = filters.CharFilter(field_name="execution__pipeline_id")
    executionId = filters.UUIDFilter(field_name="execution_id")
    stepName = filters.CharFilter(method="by_step_name", help_text="The name of the step, or of its function.")
    claimed = FlagFilter(method="by_claim", help_text="Whether a claim lasts now. Only open questions are claimed.")
    claimedBy = filters.CharFilter(
        method="by_claimant", help_text="Who has a claim that lasts now, such as `user:eva` or `token:bot`."
    )

    mine = FlagFilter(
        method="by_recipient",
        help_text="Whether it is for the owner of the token, or claimed by the owner or the token.",
    )

    def by_recipient(self, rows: QuerySet[Interaction], name: str, value: bool) -> QuerySet[Interaction]:
        mine = recipients.mine(self.request.user, [self.request.parser_context["view"].actor])
        return rows.filter(mine if value else ~mine)

    def by_step_name(self, rows: QuerySet[Interaction], name: str, value: str) -> QuerySet[Interaction]:
        return rows.filter(questions_of_step([self.request.parser_context["view"].tenant.pk], value))

    def by_claim(self, rows: QuerySet[Interaction], name: str, value: bool) -> QuerySet[Interaction]:
        return rows.filter(IS_CLAIMED if value else ~IS_CLAIMED)

    def by_claimant(self, rows: QuerySet[Interaction], name: str, value: str) -> QuerySet[Interaction]:
        return rows.filter(IS_CLAIMED, claimed_by=value)

    def by_status(self, rows: QuerySet[Interaction], name: str, value: str) -> QuerySet[Interaction]:
        return rows.filter(status__in=Interaction.OPEN if value == PENDING else [value])


def _restrictions(shown: Interaction | Sequence[Interaction]) -> dict[str, Any]:
    restricted = recipients.restricted([shown] if isinstance(shown, Interaction) else shown)
    return {"restricted": restricted, "answerable": cache(partial(recipients.answerable, restricted))}


@listing(
    "questions",
    Interaction,
    QuestionView,
    QuestionFilter,
    ordering=("deadline", "created_at", "id"),
    context=_restrictions,
)
def list_questions(view: TenantView) -> Any:
    """The questions of the tenant's executions, nearest deadline first."""
    return questions.questions_of(view.tenant)


@operation("questions", "question", QuestionView, method="GET", context=_restrictions)
@refuses(errors.QuestionUnknown)
def one_question(view: TenantView, question_id: uuid.UUID) -> Any:
    """One question with its request, assignee, deadline, and response."""
    return questions.get_question(view.tenant, question_id)


@operation("questions", "answerQuestion", AnsweredView, body=AnswerRequest)
@declares(Act.INTERACTION_ANSWER, Scope.ANSWER)
@refuses(*REFUSALS, errors.CorrelationAmbiguous, errors.RecipientRequired)
def answer_question(view: TenantView, **body: Any) -> Any:
    """Answer a question. The first response is recorded. A repeated request returns it as a duplicate."""
    return questions.answer(view.tenant, actor=view.actor, person=view.request.user, **body)


@operation("questions", "claimQuestion", QuestionView, body=ClaimRequest, context=_restrictions)
@declares(Act.INTERACTION_CLAIM, Scope.ANSWER)
@refuses(errors.QuestionUnknown, errors.QuestionClosed, errors.RecipientRequired, errors.QuestionClaimed)
def claim_question(view: TenantView, question_id: uuid.UUID, take_over: bool) -> Any:
    """Say that the caller is working on a question, for 30 minutes. A repeated claim starts them again.

    A claim is for people: it keeps no client from responding. The body is optional.
    """
    me = view.request.user
    return claims.claim(view.tenant, question_id, actor=view.actor, person=me, take_over=take_over)


@operation("questions", "releaseQuestion", QuestionView, context=_restrictions)
@declares(Act.INTERACTION_RELEASE, Scope.ANSWER)
@refuses(errors.QuestionUnknown, errors.QuestionClosed, errors.QuestionNotClaimed)
def release_question(view: TenantView, question_id: uuid.UUID) -> Any:
    """End the caller's claim."""
    return claims.release(view.tenant, question_id, actor=view.actor)


@operation("questions", "delegateQuestion", QuestionView, body=DelegateRequest, context=_restrictions)
@declares(Act.INTERACTION_DELEGATE, Scope.ANSWER)
@refuses(
    errors.QuestionUnknown,
    errors.DelegateUnknown,
    errors.QuestionClosed,
    errors.RecipientRequired,
    errors.QuestionClaimed,
)
def delegate_question(view: TenantView, question_id: uuid.UUID, **body: Any) -> Any:
    """Pass a question on to a member of the tenant, and end its claim."""
    return claims.delegate(view.tenant, question_id, actor=view.actor, person=view.request.user, **body)


@operation("questions", "reassignQuestion", QuestionView, body=ReassignRequest, context=_restrictions)
@declares(Act.INTERACTION_REASSIGN, Scope.ADMINISTER)
@refuses(errors.QuestionUnknown, errors.RecipientUnknown, errors.QuestionClosed)
def reassign_question(view: TenantView, question_id: uuid.UUID, **body: Any) -> Any:
    """Replace the assignee and the group of a question, and end its claim and its delegation."""
    return reassignment.reassign(view.tenant, question_id, actor=view.actor, **body)


@extend_schema(tags=["questions"])
class Resume(APIView):
    """The only call without a bearer token. The resume token permits one response before the deadline."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    refusals: ClassVar = {"POST": REFUSALS}

    @extend_schema(operation_id="resume", request=ResumeRequest, responses=CompletionView, auth=[])
    def post(self, request: Request) -> Response:
        """Answer a question with a resume token, as the receiver of a webhook does."""
        body = ResumeRequest.validated(request.data)
        answered = questions.resume(
            body["resumeToken"],
            response=body["response"],
            actor=f"resume-token:{body['actor']}" if body["actor"] else "resume-token",
        )
        return Response(CompletionView(answered).data)


urlpatterns = [
    path("questions", list_questions, name="questions"),
    path("questions/answer", answer_question, name="question-answer"),
    path("questions/<uuid:question_id>/claim", claim_question, name="question-claim"),
    path("questions/<uuid:question_id>/release", release_question, name="question-release"),
    path("questions/<uuid:question_id>/delegate", delegate_question, name="question-delegate"),
    path("questions/<uuid:question_id>/reassign", reassign_question, name="question-reassign"),
    path("questions/<uuid:question_id>", one_question, name="question"),
]
