"""Django's settings. Only this module reads environment variables. `coordinator.setting_meanings` describes them."""

import importlib.util
import os
import sys

from django.core.exceptions import ImproperlyConfigured

from alerts.texts import read_alert_secrets
from coordinator import library_settings, sign_in_settings
from coordinator.library_settings import REST_FRAMEWORK, SPECTACULAR_SETTINGS, UNFOLD
from foundation import secret_reference
from foundation.database.postgresql.url import TIMEOUTS
from foundation.env import Environment
from releases.registration.maven_repositories import read_repositories
from tenancy.roles import Scope
from wire import log_lines
from wire.addresses import kombu_url, tls_options, uses_tls
from wire.probes import LONGEST_SILENCE
from wire.worker_keys import SHORTEST_REST_SECRET

__all__ = ["REST_FRAMEWORK", "SPECTACULAR_SETTINGS", "UNFOLD"]

env = Environment(os.environ)

SECRET_KEY = env.secret("SECRET_KEY", shortest=32)
SECRET_KEY_FALLBACKS = env.secrets("SECRET_KEY_FALLBACKS", shortest=32)
WORKER_SECRET = env.secret("WORKER_SECRET", shortest=32)
# Former values of WORKER_SECRET. The keys derived from them stay active.
WORKER_SECRET_FALLBACKS = env.secrets("WORKER_SECRET_FALLBACKS", shortest=32, most=3)
ENCRYPT_PAYLOADS = env.flag("ENCRYPT_PAYLOADS", True)
MAX_TENANT_WORKERS = env.integer("MAX_TENANT_WORKERS", 1000)
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", "localhost,127.0.0.1")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
HTTPS_ONLY = env.flag("HTTPS_ONLY", True)
BEHIND_PROXY = env.flag("BEHIND_PROXY", False)
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")

ARTIFACT_STORE = env.choice("ARTIFACT_STORE", ("local", "s3", "gcs", "azure"), "local")
ARTIFACT_ROOT = env.path("ARTIFACT_ROOT", "artifacts")
ARTIFACT_STORE_OPTIONS = env.options("ARTIFACT_STORE_OPTIONS", of=("s3", "gcs", "azure"))
S3_BUCKET = env.text("S3_BUCKET", "")
S3_PREFIX = env.text("S3_PREFIX", "")
S3_ENDPOINT_URL = env.url("S3_ENDPOINT_URL")
S3_PUBLIC_ENDPOINT_URL = env.url("S3_PUBLIC_ENDPOINT_URL")
S3_REGION = env.text("S3_REGION", "us-east-1")
S3_ACCESS_KEY_ID = env.secret("S3_ACCESS_KEY_ID", required=False)
S3_SECRET_ACCESS_KEY = env.secret("S3_SECRET_ACCESS_KEY", required=False)
env.require(
    bool(S3_ACCESS_KEY_ID) == bool(S3_SECRET_ACCESS_KEY),
    "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY must both be set, or neither",
)
S3_CA_FILE = env.certificates("S3_CA_FILE")
SCRUB_DAYS = env.number("SCRUB_DAYS", 7, least=0.01)
ORPHAN_HOURS = env.number("ORPHAN_HOURS", 24, least=1)
ORPHAN_SWEEP = env.flag("ORPHAN_SWEEP", False)
MAX_ARTIFACT_BYTES = env.integer("MAX_ARTIFACT_BYTES", 2 * 1024**3)
env.require(ARTIFACT_STORE != "s3" or bool(S3_BUCKET), "S3_BUCKET is required if ARTIFACT_STORE is s3")
env.require(
    ARTIFACT_STORE != "s3" or MAX_ARTIFACT_BYTES <= 5 * 1024**3,
    "MAX_ARTIFACT_BYTES must be at most 5368709120 if ARTIFACT_STORE is s3: one request to S3 stores no more",
)
# The configured stores. ARTIFACT_STORE names the one that is used. `move_artifacts` copies from one to another.
ARTIFACT_STORES = {"local": library_settings.local_store(ARTIFACT_ROOT)}
if S3_BUCKET:
    ARTIFACT_STORES["s3"] = library_settings.s3_store(
        ARTIFACT_ROOT,
        bucket=S3_BUCKET,
        prefix=S3_PREFIX,
        endpoint_url=S3_ENDPOINT_URL,
        public_endpoint_url=S3_PUBLIC_ENDPOINT_URL,
        region=S3_REGION,
        access_key_id=S3_ACCESS_KEY_ID,
        secret_access_key=S3_SECRET_ACCESS_KEY,
        ca_file=S3_CA_FILE,
        options=ARTIFACT_STORE_OPTIONS.get("s3"),
    )
for store, container in (("gcs", "bucket_name"), ("azure", "azure_container")):
    options = ARTIFACT_STORE_OPTIONS.get(store, {})
    env.require(
        store != ARTIFACT_STORE or bool(options.get(container)),
        f"ARTIFACT_STORE_OPTIONS must contain {container} for {store} if ARTIFACT_STORE is {store}",
    )
    if options:
        ARTIFACT_STORES[store] = library_settings.store_by_options(store, ARTIFACT_ROOT, options)
UPLOAD_PART_BYTES = 64 * 1024**2
MAX_RELEASE_ARTIFACTS = 100
VERIFICATION_PROCESSES = env.integer("VERIFICATION_PROCESSES", 2, least=1)
VERIFICATION_CPU_SECONDS = env.integer("VERIFICATION_CPU_SECONDS", 60, least=1)
VERIFICATION_SECONDS = 15 * VERIFICATION_CPU_SECONDS
VERIFICATION_MEMORY_BYTES = env.integer("VERIFICATION_MEMORY_BYTES", 1024**3, least=256 * 1024**2)
IMAGE_REGISTRY_CHECK = env.flag("IMAGE_REGISTRY_CHECK", False)
IMAGE_REGISTRIES = env.hosts("IMAGE_REGISTRIES")
IMAGE_REGISTRIES_PLAIN_HTTP = env.hosts("IMAGE_REGISTRIES_PLAIN_HTTP")
IMAGE_REGISTRY_CREDENTIALS = env.credentials("IMAGE_REGISTRY_CREDENTIALS")
IMAGE_REGISTRY_ALLOWED_NETWORKS = env.networks("IMAGE_REGISTRY_ALLOWED_NETWORKS")
IMAGE_REGISTRY_SECONDS = 10.0
IMAGE_REGISTRY_CA_FILE = env.certificates("IMAGE_REGISTRY_CA_FILE")
MAVEN_REPOSITORIES = env.parsed("MAVEN_REPOSITORIES", "TOML", read_repositories)
MAVEN_ALLOWED_NETWORKS = env.networks("MAVEN_ALLOWED_NETWORKS")
MAVEN_SECONDS = 300.0
MAVEN_CA_FILE = env.certificates("MAVEN_CA_FILE")
MAX_REQUEST_BYTES = env.integer("MAX_REQUEST_BYTES", 1024**2)
WEB_SLOTS = env.integer("WEB_SLOTS", 16)
WEB_HOST = env.text("WEB_HOST", "127.0.0.1")
WEB_PORT = env.integer("WEB_PORT", 8000, least=1, most=65_535)
WEB_PROCESSES = env.integer("WEB_PROCESSES", 2, least=1, most=64)

SUBMISSION_CACHE_SECONDS = env.number("SUBMISSION_CACHE_SECONDS", 1)
WEB_DISPATCHES = env.flag("WEB_DISPATCHES", True)
MAX_BATCH_BYTES, LARGE_BODIES_BYTES = 8 * MAX_REQUEST_BYTES, 32 * MAX_REQUEST_BYTES
KEEP_STEP_LINES = env.flag("KEEP_STEP_LINES", True)
LEASE_SECONDS = env.number("LEASE_SECONDS", 30, least=1)
SWEEP_SECONDS = env.number("SWEEP_SECONDS", 5, least=0.1)
# A message follows the heartbeats every SWEEP_SECONDS. If three in a row are missing, heartbeats do not arrive.
MESSAGE_PATH_SECONDS = 3 * SWEEP_SECONDS
SWEEP_LIMIT = 500
WORKER_STALE_SECONDS = env.number("WORKER_STALE_SECONDS", 30, least=1)
# The interval of a worker's heartbeats once it has received a command. Workers and leases must last from a heartbeat
# until the coordinator knows that messages do not arrive.
HEARTBEAT_SECONDS = min(10, LEASE_SECONDS / 3)
for name, seconds in (("WORKER_STALE_SECONDS", WORKER_STALE_SECONDS), ("LEASE_SECONDS", LEASE_SECONDS)):
    env.require(
        seconds >= MESSAGE_PATH_SECONDS + HEARTBEAT_SECONDS,
        f"{name} must be at least 3 x SWEEP_SECONDS and a heartbeat interval: 10, or LEASE_SECONDS / 3 if less",
    )
TAKEOVER_LIMIT = 10
ALLOWED_TENANTS = env.tenants("ALLOWED_TENANTS")
TOKEN_MAX_DAYS = env.integer("TOKEN_MAX_DAYS", 365, most=365)
TENANT_MAX_IN_FLIGHT = env.integer("TENANT_MAX_IN_FLIGHT", 0, least=0)
RETENTION_DAYS = env.integer("RETENTION_DAYS", 0, least=0, most=36_500)
FAILED_RETENTION_DAYS = env.integer("FAILED_RETENTION_DAYS", 0, least=0, most=36_500)
WORKER_RETENTION_DAYS = env.integer("WORKER_RETENTION_DAYS", 7, least=1, most=36_500)
RETRY_LIMIT = env.integer("RETRY_LIMIT", 3, least=0)
RETRY_DELAY_SECONDS = env.number("RETRY_DELAY_SECONDS", 10)
RETRY_MULTIPLIER, RETRY_JITTER = 2.0, 0.1

PROVENANCE_KEY = env.signing_key("PROVENANCE_KEY")
PUBLIC_URL = env.url("PUBLIC_URL")
RESUME_TOKEN_SECRET = env.secret("RESUME_TOKEN_SECRET", shortest=32, required=False)
RESUME_TOKEN_SECRET_FALLBACKS = env.secrets("RESUME_TOKEN_SECRET_FALLBACKS", shortest=32)
WEBHOOK_ATTEMPTS = 8
WEBHOOK_DELAY_SECONDS = 10.0
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")
WEBHOOK_CA_FILE = env.certificates("WEBHOOK_CA_FILE")

ALERT_SECRETS = env.parsed("ALERT_SECRETS", "secret names", read_alert_secrets)
ALERT_DOCS_URL = env.url("ALERT_DOCS_URL")
ALERT_RETENTION_DAYS = env.integer("ALERT_RETENTION_DAYS", 90, least=1, most=36_500)
EMAIL_HOST = env.text("EMAIL_HOST", "")
EMAIL_PORT = env.integer("EMAIL_PORT", 587, most=65_535)
EMAIL_HOST_USER = env.text("EMAIL_USER", "")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_PASSWORD", required=False)
_email_security = env.choice("EMAIL_SECURITY", ("starttls", "tls", "none"), "starttls")
EMAIL_USE_TLS, EMAIL_USE_SSL = _email_security == "starttls", _email_security == "tls"
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "")
env.require(bool(EMAIL_HOST) == bool(DEFAULT_FROM_EMAIL), "EMAIL_HOST and EMAIL_FROM must both be set, or neither")

PAYLOAD_TYPE_PREFIXES = env.words("PAYLOAD_TYPE_PREFIXES", "org.pipelineframework.")
REST_WORKER_ORIGINS = env.origins("REST_WORKER_ORIGINS")
REST_WORKER_BASE_URL = env.url("REST_WORKER_BASE_URL")
REST_WORKER_SECRET = env.secret("REST_WORKER_SECRET", shortest=SHORTEST_REST_SECRET, required=False)
REST_WORKER_SECRET_FALLBACKS = env.secrets("REST_WORKER_SECRET_FALLBACKS", shortest=SHORTEST_REST_SECRET, most=3)
REST_WORKER_TIMEOUT_SECONDS = env.number("REST_WORKER_TIMEOUT_SECONDS", 30, least=0.1)
REST_WORKER_CA_FILE = env.certificates("REST_WORKER_CA_FILE")
REST_WORKER_CAPACITY = env.integer("REST_WORKER_CAPACITY", 8)
REST_WORKER_NON_RETRYABLE = env.words("REST_WORKER_NON_RETRYABLE")


def _surface(name: str) -> tuple[bool, str, str, dict[str, list[str]]]:
    """Return the settings of a surface of interop: ENABLED, TOKEN, TOKEN_REF and TENANT_TOKENS."""
    enabled = env.flag(f"{name}_ENABLED", False)
    token = env.secret(f"{name}_TOKEN", shortest=secret_reference.SHORTEST_TOKEN, required=False)
    reference = env.text(f"{name}_TOKEN_REF", "")
    tenant_tokens = env.tenant_secrets(f"{name}_TENANT_TOKENS", shortest=secret_reference.SHORTEST_TOKEN)
    names = f"{name}_TOKEN or {name}_TOKEN_REF"
    env.require(
        not enabled or bool(token or reference or tenant_tokens),
        f"{names} or {name}_TENANT_TOKENS is required when {name}_ENABLED=true",
    )
    env.require(not (token and reference), f"Configure only one of {names}")
    env.require(
        not reference or secret_reference.is_reference(reference), f"{name}_TOKEN_REF must be env:NAME or file:/path"
    )
    return enabled, token, reference, tenant_tokens


TPF_ADMIN_ENABLED, TPF_ADMIN_TOKEN, TPF_ADMIN_TOKEN_REF, TPF_ADMIN_TENANT_TOKENS = _surface("TPF_ADMIN")
(
    TPF_CONTROL_PLANE_ENABLED,
    TPF_CONTROL_PLANE_TOKEN,
    TPF_CONTROL_PLANE_TOKEN_REF,
    TPF_CONTROL_PLANE_TENANT_TOKENS,
) = _surface("TPF_CONTROL_PLANE")
TPF_CREATE_TENANTS = env.flag("TPF_CREATE_TENANTS", False)
TPF_RELEASE_ROOTS = env.paths("TPF_RELEASE_ROOTS")
TPF_IDEMPOTENCY = env.choice(
    "TPF_IDEMPOTENCY", ("OPTIONAL_CLIENT_KEY", "CLIENT_KEY_REQUIRED", "SERVER_KEY_ONLY"), "OPTIONAL_CLIENT_KEY"
)

TPF_DEPLOYMENTS_ENABLED = env.flag("TPF_DEPLOYMENTS_ENABLED", False)
TPF_DEPLOYMENT_ENVIRONMENTS = env.tenant_prefixes("TPF_DEPLOYMENT_ENVIRONMENTS")
# Clients of this surface wait for 60 seconds. At the end of this time, the request may have to wait for a slot again,
# for WEB_WAIT_SECONDS.
TPF_DEPLOYMENT_WAIT_SECONDS = 45.0

TRACES_ENDPOINT = env.url("TRACES_ENDPOINT")
env.require(
    not TRACES_ENDPOINT or importlib.util.find_spec("opentelemetry") is not None,
    "TRACES_ENDPOINT requires durable-coordinator[tracing]",
)
TRACES_SAMPLE = env.number("TRACES_SAMPLE", 0.01, least=0, most=1)

INSTALLED_APPS = [
    # The first app, because its `createsuperuser` replaces Django's.
    "coordinator",
    "unfold.apps.BasicAppConfig",
    # `coordinator.urls` loads the admin pages, so only processes that serve pages import them.
    "tenancy.apps.AdminSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_standardized_errors",
    "knox",
    "foundation",
    "tenancy",
    "releases",
    "executions",
    "alerts",
    "governance",
]
MIDDLEWARE = [
    # Serves the API itself. The rest guards pages.
    "coordinator.request_middleware.every_request",
    "coordinator.request_middleware.security_headers",
    "coordinator.session_middleware.without_nul",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "coordinator.session_middleware.well_formed_keys",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "coordinator.session_middleware.session_limits",
    "coordinator.session_middleware.time_zones",
    "django.contrib.messages.middleware.MessageMiddleware",
    "tenancy.login.ThrottledPage",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "coordinator.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "libraries": {"console": "tenancy.console.template_tags"},
        },
    }
]
DATABASE_APPLICATION_ROLE = env.text("DATABASE_APPLICATION_ROLE", "coordinator")
DATABASE_ROLE_CHECK = env.flag("DATABASE_ROLE_CHECK", True)
DATABASE_OWNER_PASSWORD = env.secret("DATABASE_OWNER_PASSWORD", required=False)
DATABASE_APPLICATION_PASSWORD = env.secret("DATABASE_APPLICATION_PASSWORD", required=False)
DATABASE_ANSWER_SECONDS = 30.0
LIST_SECONDS, MOST_EXPORTED = 5.0, 100_000
DATABASE_REQUIRES_SYNCHRONOUS_STANDBY = env.flag("DATABASE_REQUIRES_SYNCHRONOUS_STANDBY", False)
_database = env.database("DATABASE_URL")
DATABASE_POOLER = env.choice("DATABASE_POOLER", ("none", "transaction"), "none")
env.require(
    DATABASE_POOLER == "none" or "options" not in _database["OPTIONS"],
    "DATABASE_URL must not have options if DATABASE_POOLER is transaction: the pooler's connections have their own",
)
DATABASES = {
    "default": {
        **_database,
        # Not Django's: `foundation.database` reads it.
        "POOLER": DATABASE_POOLER,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # Only `foundation.database.prepared` prepares statements. A threshold of None would prevent it.
        "OPTIONS": {**TIMEOUTS, **_database["OPTIONS"], "prepare_threshold": 5},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = env.path("STATIC_ROOT", "staticfiles")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    # If it is not configured, `env` has recorded a problem.
    "artifacts": ARTIFACT_STORES.get(ARTIFACT_STORE, ARTIFACT_STORES["local"]),
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "tenancy.login.DistinctCharacters"},
    {"NAME": "tenancy.login.TokensEndWithPassword"},
]
AUTHENTICATION_BACKENDS = ["tenancy.login.ThrottledBackend"]
LOGIN_ATTEMPTS = env.integer("LOGIN_ATTEMPTS", 5)
LOGIN_ATTEMPTS_PER_ADDRESS = env.integer("LOGIN_ATTEMPTS_PER_ADDRESS", 50)
LOGIN_ATTEMPTS_PER_ACCOUNT = env.integer("LOGIN_ATTEMPTS_PER_ACCOUNT", 100)
CSRF_FAILURE_VIEW = "tenancy.console.site.without_token"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_IDLE_SECONDS = env.integer("SESSION_IDLE_SECONDS", 3600, most=86_400)
SESSION_MAX_SECONDS = SESSION_COOKIE_AGE = env.integer("SESSION_MAX_SECONDS", 43_200, most=30 * 86_400)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
# Pages read the CSRF token from their forms. With the prefix, a browser accepts the cookies only from this exact host.
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = (
    f"{'__Host-' if HTTPS_ONLY else ''}{name}" for name in ("sessionid", "csrftoken")
)
SECURE_SSL_REDIRECT = HTTPS_ONLY
HSTS_SECONDS = env.integer("HSTS_SECONDS", 31_536_000, least=0)
SECURE_HSTS_SECONDS = HSTS_SECONDS if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.flag("HSTS_SUBDOMAINS", False)
SECURE_HSTS_PRELOAD = env.flag("HSTS_PRELOAD", False)
env.require(
    not SECURE_HSTS_PRELOAD or (SECURE_HSTS_INCLUDE_SUBDOMAINS and SECURE_HSTS_SECONDS >= 31_536_000),
    "HSTS_PRELOAD needs HTTPS_ONLY, HSTS_SUBDOMAINS and HSTS_SECONDS of at least 31536000",
)
SECURE_REFERRER_POLICY = SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_REQUEST_BYTES
# A release form has a file for each artifact, and two documents.
DATA_UPLOAD_MAX_NUMBER_FILES = MAX_RELEASE_ARTIFACTS + 2

OAUTH_ISSUER = env.text("OAUTH_ISSUER", "")
# A party that can change the key set can sign tokens.
OAUTH_JWKS_URL = env.url("OAUTH_JWKS_URL", secure=True)
OAUTH_AUDIENCE = env.text("OAUTH_AUDIENCE", "")
env.require(
    bool(OAUTH_ISSUER) == bool(OAUTH_JWKS_URL) == bool(OAUTH_AUDIENCE),
    "OAUTH_ISSUER, OAUTH_JWKS_URL and OAUTH_AUDIENCE must all be set, or none",
)
OAUTH_ORGANIZATION_CLAIM = env.text("OAUTH_ORGANIZATION_CLAIM", "organization")
OAUTH_SCOPES = env.grants("OAUTH_SCOPES", of=list(Scope))
OAUTH_ALLOWED_NETWORKS = env.networks("OAUTH_ALLOWED_NETWORKS")
OAUTH_CA_FILE = env.certificates("OAUTH_CA_FILE")

globals().update(sign_in_settings.read(env, INSTALLED_APPS, MIDDLEWARE))

KNOX_TOKEN_MODEL = "tenancy.ApiToken"  # noqa: S105 - the name of a model
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "dc_"}

REDIS_URL = env.redis_url("REDIS_URL")
REDIS_CA_FILE = env.certificates("REDIS_CA_FILE")
env.require(
    not REDIS_CA_FILE or uses_tls(REDIS_URL),
    "REDIS_CA_FILE requires a REDIS_URL that begins with rediss:// or sentinels://",
)
LIVENESS_SECONDS = LONGEST_SILENCE
# The longest time between two turns of a main loop that works.
BEAT_SECONDS = LIVENESS_SECONDS / 12
BROKER_TLS = tls_options(REDIS_URL, REDIS_CA_FILE)
BROKER_TIMEOUTS = {"socket_connect_timeout": 2, "socket_timeout": 10}
# `coordinator.celery` has what no installation chooses.
CELERY_BROKER_URL = kombu_url(REDIS_URL)
CELERY_BROKER_USE_SSL = BROKER_TLS or False
# Tasks share their thread's connection. `coordinator.celery` replaces one that the database has closed.
CELERY_DB_REUSE_MAX = 10_000
CELERY_BEAT_SCHEDULE = library_settings.beat_schedule(SWEEP_SECONDS, removes_orphans=ORPHAN_SWEEP)

METRICS_TOKEN = env.secret("METRICS_TOKEN", shortest=16, required=False)
METRICS_HOST = env.text("METRICS_HOST", "127.0.0.1")
METRICS_PORT = env.integer("METRICS_PORT", 0, least=0, most=65_535)
METRICS_MAX_SERIES = 500

LOG_FORMAT = env.choice("LOG_FORMAT", log_lines.FORMS, "text")
LOG_LEVEL = env.choice("LOG_LEVEL", library_settings.LOG_LEVELS, "INFO")
LOG_EXECUTIONS = env.flag("LOG_EXECUTIONS", True)
LOGGING = library_settings.logging(LOG_FORMAT, LOG_LEVEL)

try:
    env.raise_problems(lambda: importlib.import_module("coordinator.setting_meanings").MEANINGS)
except ImproperlyConfigured as error:
    # A traceback would hide the problems. Every process reads its settings first, and ends here.
    sys.exit(str(error))
