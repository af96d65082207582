"""REST: smoke tests of a release."""

import uuid
from typing import Any

from django.urls import path, reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from executions import errors
from executions.models import SmokeTest
from executions.models.states import State
from executions.submission.api import NOT_RUNNABLE
from executions.submission.members import MAX_KEY_LENGTH
from foundation.api.fields import Identifier, StrictSerializer
from governance.smoke_tests import smoke_tests
from governance.smoke_tests.smoke_tests import Verdict
from releases import queries
from releases.errors import PipelineUnknown, ReleaseUnknown
from tenancy.api.authentication import WITHHELD, withhold
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


class SmokeTestRequest(StrictSerializer):
    input = serializers.JSONField(help_text="The input, as that of a submission.")
    idempotencyKey = Identifier(
        source="idempotency_key",
        max_length=MAX_KEY_LENGTH,
        help_text="A repeated key with an equal input and expected result returns the first smoke test of the release.",
    )
    expectedResult = serializers.JSONField(
        source="expected_result",
        required=False,
        allow_null=True,
        help_text="The result that passes. Without it, any result passes. Numbers are compared by value: 1 equals 1.0.",
    )


class SmokeTestView(serializers.Serializer[SmokeTest]):
    executionId = serializers.UUIDField(source="execution_id")
    verdict = serializers.ChoiceField(
        choices=[verdict.value for verdict in Verdict],
        help_text="PENDING until the execution ends. OTHER_RESULT: it succeeded, but its result is not the expected "
        "one. FAILED: it failed or was cancelled.",
    )
    status = serializers.ChoiceField(source="execution.status", choices=[state.value for state in State])
    expectsResult = serializers.SerializerMethodField(help_text="Whether only `expectedResult` passes.")
    expectedResult = serializers.SerializerMethodField(help_text=f"Null if any result passes. {WITHHELD}")
    actor = serializers.CharField()
    createdAt = serializers.DateTimeField(source="created_at")
    finishedAt = serializers.DateTimeField(source="execution.finished_at", allow_null=True)
    execution = serializers.SerializerMethodField(help_text="The URL of the execution.")

    def to_representation(self, instance: SmokeTest) -> dict[str, Any]:
        shown = super().to_representation(instance)
        withhold(["expectedResult"], shown, self.context)
        return shown

    def get_expectsResult(self, test: SmokeTest) -> bool:  # noqa: N802 - the name of its field
        return test.expected_result is not None

    @extend_schema_field({})
    def get_expectedResult(self, test: SmokeTest) -> Any:  # noqa: N802 - the name of its field
        return None if test.expected_result is None else test.expected_result[0]

    @extend_schema_field(serializers.URLField())
    def get_execution(self, test: SmokeTest) -> str:
        request: Request = self.context["request"]
        address = reverse("api:execution", args=(test.execution.tenant.slug, test.execution_id))
        return request.build_absolute_uri(address)


@listing("releases", SmokeTest, SmokeTestView, ordering=("-created_at", "-execution"))
@refuses(PipelineUnknown, ReleaseUnknown)
def all_smoke_tests(view: TenantView, pipeline_id: str, release_version: str) -> Any:
    """The smoke tests of the release, newest first."""
    return smoke_tests.of_release(queries.release(queries.pipeline(view.tenant, pipeline_id), release_version))


@operation("releases", "smokeTest", {202: SmokeTestView, 200: SmokeTestView}, body=SmokeTestRequest)
@declares(Act.RELEASE_SMOKE_TEST, Scope.ACTIVATE)
@refuses(
    errors.TenantNotAllowed,
    PipelineUnknown,
    ReleaseUnknown,
    errors.IdempotencyKeyReused,
    errors.ReleaseNotAdmitted,
    errors.PipelinePaused,
    errors.InputInvalid,
    *NOT_RUNNABLE,
    errors.ExecutionChanged,
)
def start_smoke_test(view: TenantView, pipeline_id: str, release_version: str, **body: Any) -> Any:
    """Run an input on a registered release, whether it is active or not. 202: it is durable and will run.

    The execution counts for no statistics. 200: the idempotency key was used before.
    """
    release = queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)
    started = smoke_tests.start(release, actor=view.actor, **body)
    request = view.request
    answer = SmokeTestView(started.test, context={"request": request}).data
    here = request.build_absolute_uri(f"{request.path}/{started.test.execution_id}")
    return Response(answer, status=200 if started.repeated else 202, headers={"Location": here})


@operation("releases", "oneSmokeTest", SmokeTestView, method="GET")
@extend_schema(parameters=[OpenApiParameter("smoke_test_id", uuid.UUID, OpenApiParameter.PATH)])
@refuses(PipelineUnknown, ReleaseUnknown, errors.SmokeTestUnknown)
def one_smoke_test(view: TenantView, pipeline_id: str, release_version: str, smoke_test_id: str) -> Any:
    """One smoke test with its verdict. Its id is that of its execution."""
    release = queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)
    return smoke_tests.smoke_test(release, _execution_id(smoke_test_id))


def _execution_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise errors.SmokeTestUnknown("The id of a smoke test is a UUID.") from None


# The route of a release accepts every path below it, so these do too.
_SMOKE = "pipelines/<str:pipeline_id>/releases/<path:release_version>/smoke"
urlpatterns = [
    path(_SMOKE, either(all_smoke_tests, start_smoke_test), name="smoke-tests"),
    path(f"{_SMOKE}/<path:smoke_test_id>", one_smoke_test, name="smoke-test"),
]
