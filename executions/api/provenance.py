"""REST: which code ran an execution, as a signed document, and the public key of its signatures."""

import uuid
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from executions.errors import ExecutionUnknown
from executions.lifecycle import provenance, queries
from releases.api.history import EnvelopeView
from releases.errors import ProvenanceKeyMissing
from releases.trust import statement_key
from tenancy.api.tenant_view import TENANT, TenantView
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE
from wire.documents.signing import key_id, to_pem


class ProvenanceKeyView(serializers.Serializer[Any]):
    keyId = serializers.CharField(help_text="The hex SHA-256 of the key in DER form.")
    publicKey = serializers.CharField(help_text="The ed25519 public key in PEM form.")


@extend_schema(parameters=[TENANT], tags=["executions"])
class ExecutionProvenance(TenantView):
    refusals: ClassVar = {"GET": (ExecutionUnknown, ProvenanceKeyMissing)}

    @extend_schema(operation_id="executionProvenance", responses={(200, ENVELOPE_MEDIA_TYPE): EnvelopeView})
    def get(self, request: Request, tenant: str, execution_id: uuid.UUID) -> HttpResponse:
        """Which code ran each part of an execution: an in-toto statement in a DSSE envelope.

        The document has the same bytes until the execution gets another event. `finished` is false in the document
        of an execution that has not finished.
        """
        execution = queries.execution(self.tenant, execution_id)
        headers = {"Content-Disposition": f'attachment; filename="{provenance.file_name(execution)}"'}
        return HttpResponse(provenance.signed(execution), content_type=ENVELOPE_MEDIA_TYPE, headers=headers)


@extend_schema(parameters=[TENANT], tags=["executions"])
class ProvenanceKey(TenantView):
    refusals: ClassVar = {"GET": (ProvenanceKeyMissing,)}

    @extend_schema(operation_id="provenanceKey", responses=ProvenanceKeyView)
    def get(self, request: Request, tenant: str) -> Response:
        """The public key that verifies provenance. It is the same for all tenants of the coordinator."""
        key = statement_key.public_key()
        return Response({"keyId": key_id(key), "publicKey": to_pem(key)})


urlpatterns = [
    path("executions/<uuid:execution_id>/provenance", ExecutionProvenance.as_view(), name="execution-provenance"),
    path("provenance-key", ProvenanceKey.as_view(), name="provenance-key"),
]
