"""REST: the receipts of the deployment API."""

from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView

from foundation.api.pagination import NewestFirst
from releases.models import Deployment
from tenancy.api.tenant_view import TENANT, TenantView


class DeploymentView(serializers.Serializer[Deployment]):
    deploymentId = serializers.UUIDField(source="id")
    pipelineId = serializers.CharField(source="release.pipeline.pipeline_id")
    releaseVersion = serializers.CharField(source="release.release_version")
    application = serializers.CharField()
    environment = serializers.CharField()
    descriptorDigest = serializers.CharField(
        source="descriptor_digest", help_text="The SHA-256 of the descriptor that was deployed."
    )
    actor = serializers.CharField()
    createdAt = serializers.DateTimeField(source="created_at")


class DeploymentFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="release__pipeline__pipeline_id")
    environment = filters.CharFilter()


class NewestCreated(NewestFirst):
    ordering = ("-created_at", "-id")


@extend_schema(parameters=[TENANT], tags=["releases"])
class Deployments(TenantView, ListAPIView[Deployment]):
    """The releases that the deployment API registered, newest first: what was deployed, where, and by whom.

    A deployment is a receipt. It activates nothing.
    """

    serializer_class = DeploymentView
    filterset_class = DeploymentFilter
    pagination_class = NewestCreated
    queryset = Deployment.objects.none()

    def get_queryset(self) -> Any:
        return Deployment.objects.filter(tenant=self.tenant).select_related("release__pipeline")


urlpatterns = [path("deployments", Deployments.as_view(), name="deployments")]
