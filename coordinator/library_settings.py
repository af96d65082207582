"""The settings of libraries: unfold, REST framework, drf-spectacular, the artifact stores, the clock and the logs."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

# Every process reads its settings. What only pages need is imported when they need it.


def file_url(name: str, request: Any) -> str:
    """Return the URL of a static file. Unfold asks for it with each page, when the files have been collected."""
    from django.templatetags.static import static

    return static(f"coordinator/{name}")


def page_url(name: str, request: Any) -> str:
    from django.urls import reverse

    return reverse(f"admin:{name}")


SCRIPTS = ("idiomorph/idiomorph-ext.min.js", "live.js", "copy.js", "palette.js")

UNFOLD = {
    "SITE_TITLE": "Durable coordinator",
    "SITE_HEADER": "Durable coordinator",
    "SITE_URL": None,
    "SITE_SYMBOL": "push_pin",
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": False,
    "STYLES": [partial(file_url, "admin.css")],
    "SCRIPTS": [partial(file_url, name) for name in SCRIPTS],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": partial(file_url, "favicon.svg")}],
    "DASHBOARD_CALLBACK": "coordinator.overview.overview",
    "ACCOUNT": {
        "navigation": [
            {"title": "My account", "link": partial(page_url, "account")},
            {"title": "Log out everywhere", "link": partial(page_url, "log_out_everywhere")},
        ]
    },
    "SIDEBAR": {"navigation": "coordinator.navigation.sidebar", "tabs": "coordinator.navigation.tabs"},
}


PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457). `code` is stable; docs/reference/errors.md lists all codes.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "severity": {"type": "string"},
                },
            },
        },
    },
}


REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenancy.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tenancy.api.authentication.HoldsScope"],
    "DEFAULT_PARSER_CLASSES": ["foundation.api.bodies.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "foundation.api.pagination.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["foundation.api.pagination.StrictFilters"],
    "DEFAULT_SCHEMA_CLASS": "tenancy.api.operations.TenantSchema",
    # The OpenAPI document does not describe responses to OPTIONS.
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "tenancy.api.operations.handle",
    "UNAUTHENTICATED_USER": None,
    "PAGE_SIZE": 50,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Durable coordinator",
    "DESCRIPTION": "Register releases, activate them, and submit executions that stay pinned to the exact release.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "APPEND_COMPONENTS": {"schemas": {"Problem": PROBLEM}},
    "ENUM_NAME_OVERRIDES": {
        "ArtifactState": "releases.models.Blob.State",
        "Role": "tenancy.roles.Role.choices",
        "SignaturePolicy": "releases.models.SignaturePolicy",
        "MissingArtifacts": "releases.models.MissingArtifacts",
        "WorkerGate": "releases.models.WorkerGate",
        "Recipients": "releases.models.Recipients",
        "UnverifiedWorkers": "releases.models.UnverifiedWorkers",
        "ArtifactUploadStatus": "releases.states.UploadStatus",
        "DifferenceArea": "wire.comparison.differences.Area",
        "DifferenceKind": "wire.comparison.differences.Kind",
        "DifferenceImpact": "wire.comparison.differences.Impact",
        "DescriptorProfile": "wire.documents.descriptor.Profile",
        "ReleaseStatus": "releases.states.Status",
        "ActivationRequestStatus": "releases.states.RequestStatus",
        "VoteDecision": "releases.models.Vote.Decision",
        "ExecutionStatus": "executions.models.states.State",
        "ExecutionEnd": "executions.models.TERMINAL_VALUES",
        "ActivationKind": "releases.models.Kind",
        "GradualActivationStatus": "releases.models.GradualActivation.Status",
        "GradualActivationCause": "releases.models.GradualActivation.Cause",
        "GateVerdict": "governance.activation.gates.Verdict",
        "PreflightConcern": "governance.reports.preflight.Concern",
        "DriftKind": "governance.reports.drift.Kind",
        "DriftSubject": "governance.reports.drift.Subject",
        "WorkerPlanReason": "executions.inspection.counts.Reason",
        "BlockerKind": "governance.retirement.retirement.Kind",
        "SmokeTestVerdict": "governance.smoke_tests.smoke_tests.Verdict",
        "AttachmentKind": "releases.states.AttachmentKind",
        "CampaignKind": "executions.models.Campaign.Kind",
        "ResubmissionStart": "executions.models.StartFrom",
        "CampaignStatus": "executions.models.Campaign.Status",
        "CampaignCause": "executions.models.Campaign.Cause",
        "InteractionStatus": "executions.models.Interaction.Status",
        "InteractionChannel": "executions.models.Interaction.Channel",
        "CampaignItemOutcome": "executions.models.CampaignItem.Result",
        "DeadLetterReason": "executions.models.DeadLetter.Reason",
        "WorkerState": "executions.models.WorkerEligibility.State",
        "WorkerCode": "executions.models.CodeOrigin",
        "ProcessKind": "coordinator.processes.Kind.choices",
        "StatusPart": "coordinator.monitoring.status.Part",
        "WorkerIneligibility": "executions.models.WorkerEligibility.Reason",
        "AlertKind": "alerts.kinds.Kind",
        "AlertChannelKind": "alerts.models.AlertChannel.Kind",
        "AlertState": "alerts.models.Alert.State",
        "AlertEventKind": "alerts.models.AlertEvent.Kind",
        "AlertDeliveryKind": "alerts.models.AlertDelivery.Kind",
        "AlertDeliveryState": "alerts.models.AlertDelivery.State",
    },
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SCHEMA_PATH_PREFIX": "/api/v1/tenants/{tenant}",
}


# Naming a backend does not import it: a process that does not use the artifact store loads no client library.
Backend = dict[str, Any]
STORES = "releases.artifacts"


def local_store(root: Path) -> Backend:
    return {
        "BACKEND": f"{STORES}.local_store.LocalArtifactStore",
        "OPTIONS": {"location": root, "may_set_up": "releases.artifacts.blobs.none_recorded"},
    }


def s3_store(
    root: Path,
    *,
    bucket: str,
    prefix: str = "",
    endpoint_url: str = "",
    public_endpoint_url: str = "",
    region: str = "us-east-1",
    access_key_id: str = "",
    secret_access_key: str = "",
    ca_file: str = "",
    timeout_seconds: float = 20.0,
    options: Mapping[str, Any] | None = None,
) -> Backend:
    """Return the store in an S3 bucket. `options` are those of django-storages and replace what the settings say.

    Without a key, boto3 uses the credentials of the host, such as a role.
    """
    key: dict[str, Any] = {}
    if access_key_id:
        # A token in AWS_SESSION_TOKEN belongs to another key.
        key = {"access_key": access_key_id, "secret_key": secret_access_key, "security_token": None}
    chosen = {
        "bucket_name": bucket,
        "location": prefix.strip("/"),
        "endpoint_url": endpoint_url or None,
        "public_endpoint_url": public_endpoint_url,
        "region_name": region,
        "addressing_style": "path" if endpoint_url else "auto",
        "signature_version": "s3v4",
        "verify": ca_file or None,
        "timeout_seconds": timeout_seconds,
    }
    return _remote("s3_store.S3ArtifactStore", root, chosen | key | dict(options or {}))


def store_by_options(store: str, root: Path, options: Mapping[str, Any]) -> Backend:
    """Return the store `gcs` or `azure` in the bucket or container that `options` of django-storages describe."""
    return _remote(
        {"gcs": "google_store.GoogleArtifactStore", "azure": "azure_store.AzureArtifactStore"}[store], root, options
    )


def _remote(backend: str, root: Path, options: Mapping[str, Any]) -> Backend:
    """Uploads are received in a folder of the host."""
    return {"BACKEND": f"{STORES}.{backend}", "OPTIONS": {"staging": root / "staging", **options}}


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Celery's lines for each task and those of Azure's client for each request contain nothing that the database does
# not. Failures are still logged.
QUIET = (
    "celery.beat",
    "celery.worker.strategy",
    "celery.app.trace",
    "azure.core.pipeline.policies.http_logging_policy",
)


def logging(form: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING that writes lines of this form, from this level on, to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "wire.log_lines.LineFormatter", "form": form}},
        "filters": {"limit": {"()": "wire.log_lines.LogLimit"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["limit"]}},
        "loggers": {name: {"level": "WARNING"} for name in QUIET},
        "root": {"handlers": ["stderr"], "level": level},
    }


def beat_schedule(sweep: float, *, removes_orphans: bool) -> dict[str, dict[str, Any]]:
    """Return the jobs of the clock: their tasks, all of them idempotent, and how often they are sent.

    `sweep` is the interval of the sweep of executions, in seconds. A message with `expires` is no longer worth its work
    after this time, because the next one follows.
    """
    seconds = {
        "sweep-executions": ("executions.sweep", sweep),
        "watch-gradual-activations": ("executions.watch_gradual", 15),
        "count-finished-executions": ("executions.count_finished", 60),
        "remove-old-executions": ("executions.remove_old", 60),
        "sweep-releases": ("releases.sweep", max(sweep, 5)),
        "carry-out-requests": ("releases.carry_out_requests", max(sweep, 5)),
        "evaluate-alerts": ("alerts.evaluate", 30),
        "remove-old-alerts": ("alerts.remove_old", 3600),
        "scrub-blobs": ("releases.scrub", max(sweep, 60)),
    }
    if removes_orphans:
        seconds["remove-orphans"] = ("releases.remove_orphans", 3600)
    expires = {"scrub-blobs": 55, "remove-orphans": 3000}
    return {
        name: {
            "task": task,
            "schedule": timedelta(seconds=every),
            "options": {"expires": expires[name]} if name in expires else {},
        }
        for name, (task, every) in seconds.items()
    }
