"""The page *Status*, for superusers."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin

from coordinator.models import Process
from coordinator.monitoring.status import status

DEPENDENCIES = (("Database", "database"), ("Broker", "broker"), ("Artifact store", "store"))


@admin.register(Process)
class StatusAdmin(ModelAdmin):
    """Shows the status of the installation in place of a list of rows."""

    def get_urls(self) -> list[URLPattern]:
        """There is one page. The rows have none."""
        page = self.admin_site.admin_view(self.changelist_view)
        return [path("", page, name="coordinator_process_changelist")]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = status()
        frame = {
            **self.admin_site.each_context(request),
            "title": "Status",
            "status": found,
            "parts": [(title, getattr(found, name)) for title, name in DEPENDENCIES],
            "silent_after": f"{Process.SILENT_SECONDS:g}",
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "monitoring/status.html", frame)
