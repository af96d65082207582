"""What each setting of `coordinator.settings` means, for docs/reference/settings.md and messages about wrong settings.

This module is imported only where the texts are shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Topic:
    """A section of the page: `text` is in Markdown, and `meanings` are by the names of the variables."""

    title: str
    text: str
    meanings: Mapping[str, str]


_SURFACE: Final = {
    "ENABLED": "Serves {}, with at least one of the tokens below.",
    "TOKEN": "The bearer token of {} for all tenants.",
    "TOKEN_REF": "Where it is read at each call instead: `env:NAME` or `file:/path`. Each line is a token.",
    "TENANT_TOKENS": "Bearer tokens of {} for one tenant each: `tenant=token`. A tenant may have several.",
}


def _surface(name: str, path: str) -> dict[str, str]:
    return {f"{name}_{member}": meaning.format(path) for member, meaning in _SURFACE.items()}


TOPICS: Final = (
    Topic(
        "Keys and encryption",
        "All processes of the coordinator need the same keys. See [rotate keys](../how-to/rotate-keys.md) and "
        "[rotate worker keys](../how-to/rotate-worker-keys.md).",
        {
            "SECRET_KEY": "Signs sessions, forms, and messages between processes of the coordinator. No worker may "
            "know it.",
            "SECRET_KEY_FALLBACKS": "Other accepted values of `SECRET_KEY` while it is rotated.",
            "WORKER_SECRET": "The root of all worker keys: each tenant's key is derived from it. No worker may know "
            "it.",
            "WORKER_SECRET_FALLBACKS": "Former or next values of `WORKER_SECRET`. The worker keys derived from them "
            "are active.",
            "ENCRYPT_PAYLOADS": "Encrypts commands, outcomes and checkpoints with a key of the tenant. Without it, "
            "any client that can read the broker can read inputs and results.",
            "PROVENANCE_KEY": "Signs the provenance of executions: an unencrypted ed25519 private key in PEM form, "
            "as `pipelines key` writes it. Without it, provenance is not signed.",
            "RESUME_TOKEN_SECRET": "Signs the resume tokens of questions. Without it, a secret derived from "
            "`WORKER_SECRET` does, whose tokens are always accepted.",
            "RESUME_TOKEN_SECRET_FALLBACKS": "Other accepted values of `RESUME_TOKEN_SECRET` while it is rotated.",
        },
    ),
    Topic(
        "PostgreSQL",
        "",
        {
            "DATABASE_URL": "The database: `postgresql://user:password@host:port/name`. Processes run as an ordinary "
            "role, and `coordinator migrate` as the owner of the tables.",
            "DATABASE_POOLER": "`transaction` if `DATABASE_URL` is the address of a PgBouncer that pools transactions.",
            "DATABASE_REQUIRES_SYNCHRONOUS_STANDBY": "The web process and the control worker do not start unless "
            "commits wait for a synchronous standby.",
            "DATABASE_APPLICATION_ROLE": "The role that the processes run as.",
            "DATABASE_ROLE_CHECK": "The web process and the control worker do not start as a role that owns tables, "
            "is a superuser, or may create temporary tables. Disable it only for development.",
            "DATABASE_OWNER_PASSWORD": "The password of the owner role, for `coordinator setup_database` alone. Do "
            "not set it for other processes.",
            "DATABASE_APPLICATION_PASSWORD": "The password of the application role, for `coordinator setup_database` "
            "alone.",
        },
    ),
    Topic(
        "Broker",
        "The broker carries wake-ups and commands. Its loss delays work and loses none.",
        {
            "REDIS_URL": "The broker: `redis://`, with TLS `rediss://`, with Sentinels `sentinel://` or "
            "`sentinels://`. The user is the coordinator's own.",
            "REDIS_CA_FILE": "For the broker, in addition to the system's authorities.",
        },
    ),
    Topic(
        "Web processes",
        "",
        {
            "ALLOWED_HOSTS": "The host names for which the web process answers.",
            "PUBLIC_URL": "The public address of the web process, such as `https://coordinator.example`. Without it, "
            "webhooks contain no address for their answers.",
            "WEB_HOST": "The address at which `coordinator run web` listens. Only a proxy may reach it.",
            "WEB_PORT": "The port at which `coordinator run web` listens.",
            "WEB_PROCESSES": "The number of web processes that `coordinator run web` starts.",
            "WEB_SLOTS": "The number of requests that each web process handles at once. Each slot holds a connection "
            "to the database.",
            "WEB_DISPATCHES": "Web processes send accepted executions to workers themselves, and not through a "
            "control worker.",
            "MAX_REQUEST_BYTES": "The maximum size of a JSON body. A batch of submissions may have 8 times this "
            "size, and all large bodies that a web process handles at once 32 times.",
            "SUBMISSION_CACHE_SECONDS": "How long a web process caches the checks that admit submissions. "
            "Activations, revocations and revoked tokens take effect at once. 0: no cache.",
            "STATIC_ROOT": "The folder to which `coordinator collectstatic` copies files of the admin. The web "
            "process serves them.",
        },
    ),
    Topic(
        "HTTPS and proxies",
        "",
        {
            "HTTPS_ONLY": "Enables secure cookies, a redirect to https, and HSTS. Disable it only for a trial on one "
            "machine.",
            "HSTS_SECONDS": "How long browsers use https only. 0: no HSTS.",
            "HSTS_SUBDOMAINS": "Extends HSTS to all subdomains.",
            "HSTS_PRELOAD": "Lets browsers preload HSTS, which is hard to undo. Requires `HSTS_SUBDOMAINS` and a "
            "year of HSTS.",
            "BEHIND_PROXY": "Trusts `X-Forwarded-Proto` and the last entry of `X-Forwarded-For`. Enable it only "
            "behind a proxy that replaces the first, and replaces or extends the second with the client's address.",
            "TRUSTED_PROXIES": "Networks of further proxies. The client's address is the last entry of "
            "`X-Forwarded-For` outside of them.",
            "CSRF_TRUSTED_ORIGINS": "Origins from which forms of the admin may be sent if a proxy changes the host.",
        },
    ),
    Topic(
        "Log-ins, sessions and tokens",
        "",
        {
            "SESSION_IDLE_SECONDS": "A session of the admin ends after this time without a request. Automatic "
            "updates of pages do not count.",
            "SESSION_MAX_SECONDS": "The maximum duration of a session of the admin.",
            "LOGIN_ATTEMPTS": "The maximum number of failed log-ins to one account from one address within 15 minutes.",
            "LOGIN_ATTEMPTS_PER_ADDRESS": "The same for all accounts from one address.",
            "LOGIN_ATTEMPTS_PER_ACCOUNT": "The same for one account from all addresses, except those of its log-ins "
            "within 30 days.",
            "SECOND_FACTOR": "People with a password may use passkeys and codes of an authenticator app. Run "
            "`coordinator migrate` when you first enable it.",
            "TOKEN_MAX_DAYS": "The maximum lifetime of new API tokens.",
        },
    ),
    Topic(
        "Identity provider",
        "`OIDC_ISSUER`, `OIDC_CLIENT_ID` and `OIDC_CLIENT_SECRET` together enable the sign-in with a provider. See "
        "[set up sign-in](../how-to/set-up-sign-in.md).",
        {
            "OIDC_ISSUER": "The issuer, with https or at a loopback address. Run `coordinator migrate` when you "
            "first set it.",
            "OIDC_CLIENT_ID": "The coordinator's client id at the provider.",
            "OIDC_CLIENT_SECRET": "The secret of this client.",
            "OIDC_PROVIDER": "The id in the callback address and in the links between people and users: letters, "
            "digits and hyphens. Change it with the provider, because another one may use the same ids for other "
            "people.",
            "OIDC_NAME": "The name of the provider on the log-in page.",
            "OIDC_SCOPES": "The scopes that the coordinator requests.",
            "OIDC_USERNAME_CLAIM": "The claim with the user name. People must not be able to choose it themselves.",
            "OIDC_GROUPS_CLAIM": "The claim with the person's groups.",
            "OIDC_ROLES": "Roles that groups of the provider grant: `group=tenant/role`. A group may have several "
            "entries.",
            "OIDC_GROUPS": "Groups of members that groups of the provider grant: `group=tenant/group`.",
            "OIDC_LINK_USERS": "At the first sign-in, a person becomes the local user with the same name. Superusers "
            "are never linked.",
            "OIDC_ALLOWED_NETWORKS": "Where the provider may be called.",
            "OIDC_CA_FILE": "For the provider.",
        },
    ),
    Topic(
        "OAuth bearers",
        "`OAUTH_ISSUER`, `OAUTH_JWKS_URL` and `OAUTH_AUDIENCE` together let clients use tokens of an issuer instead "
        "of API tokens.",
        {
            "OAUTH_ISSUER": "The issuer, exactly as in the claim `iss`.",
            "OAUTH_JWKS_URL": "The address of the issuer's key set, with https or at a loopback address.",
            "OAUTH_AUDIENCE": "The audience that the claim `aud` must contain. The issuer must give it to this "
            "coordinator only.",
            "OAUTH_ORGANIZATION_CLAIM": "The claim that names the holder's organizations: a text or an array of texts.",
            "OAUTH_SCOPES": "Scopes that scopes of the issuer grant: `name=scope`. The coordinator's own scopes need "
            "no entry.",
            "OAUTH_ALLOWED_NETWORKS": "Where the issuer may be called.",
            "OAUTH_CA_FILE": "For the issuer.",
        },
    ),
    Topic(
        "Artifact store",
        "See [choose an artifact store](../how-to/choose-an-artifact-store.md).",
        {
            "ARTIFACT_STORE": "A folder of one host or, for any number of hosts, S3, Google Cloud Storage or Azure "
            "Blob Storage.",
            "ARTIFACT_ROOT": "With `local`, the folder of the store, the same for all processes. Otherwise a local "
            "folder for uploads and reads in progress.",
            "ARTIFACT_STORE_OPTIONS": "Options of django-storages by store, which replace the variables below. `gcs` "
            "requires `bucket_name`, and `azure` `azure_container`.",
            "S3_BUCKET": "The bucket. Required with `s3`.",
            "S3_PREFIX": "A prefix of all keys.",
            "S3_ENDPOINT_URL": "The address of an S3-compatible server. Empty: AWS.",
            "S3_PUBLIC_ENDPOINT_URL": "The address of that server for browsers and build machines, which upload "
            "directly. Empty: `S3_ENDPOINT_URL`.",
            "S3_REGION": "The bucket's region.",
            "S3_ACCESS_KEY_ID": "The id of the access key. If both parts of the key are empty, credentials are "
            "looked up as AWS's tools do.",
            "S3_SECRET_ACCESS_KEY": "The secret part of the access key.",
            "S3_CA_FILE": "For the S3-compatible server.",
            "MAX_ARTIFACT_BYTES": "The maximum size of an artifact file. With `s3`, at most 5368709120.",
            "SCRUB_DAYS": "Within this time, each stored artifact is read again and compared with its digest.",
            "ORPHAN_SWEEP": "The clock removes unneeded artifacts every hour. `coordinator sweep_artifacts` lists "
            "them.",
            "ORPHAN_HOURS": "The minimum age of the artifacts that are removed. Younger ones may belong to an upload "
            "in progress.",
        },
    ),
    Topic(
        "Verification of releases",
        "See [use container images](../how-to/use-container-images.md) and [use Maven "
        "artifacts](../how-to/use-maven-artifacts.md).",
        {
            "VERIFICATION_PROCESSES": "The number of releases that one control worker verifies at once.",
            "VERIFICATION_CPU_SECONDS": "The maximum CPU time for one release, which may take 15 times as long in all.",
            "VERIFICATION_MEMORY_BYTES": "The maximum address space of a verification process.",
            "IMAGE_REGISTRY_CHECK": "Asks the registry of each image whether it has the pinned digest. Nothing is "
            "pulled.",
            "IMAGE_REGISTRIES": "The permitted registries, such as `registry.example:5000`. Empty: all.",
            "IMAGE_REGISTRIES_PLAIN_HTTP": "Registries that are called over http.",
            "IMAGE_REGISTRY_CREDENTIALS": "Credentials for registries: `host=user:password`.",
            "IMAGE_REGISTRY_ALLOWED_NETWORKS": "Where registries may be called.",
            "IMAGE_REGISTRY_CA_FILE": "For registries.",
            "MAVEN_REPOSITORIES": "The repositories of artifacts with a `maven:` URI.",
            "MAVEN_ALLOWED_NETWORKS": "Where Maven repositories, and the servers to which they redirect, may be "
            "called.",
            "MAVEN_CA_FILE": "For Maven repositories.",
        },
    ),
    Topic(
        "Executions and workers",
        "",
        {
            "LEASE_SECONDS": "How long the lease of an attempt lasts without a heartbeat. At least three times "
            "`SWEEP_SECONDS` and a heartbeat interval, which is 10 seconds, or a third of `LEASE_SECONDS` if that is "
            "less.",
            "SWEEP_SECONDS": "The interval at which the clock looks for due work that no message announced, and for "
            "expired leases.",
            "WORKER_STALE_SECONDS": "How long a worker counts as healthy without a heartbeat. At least three times "
            "`SWEEP_SECONDS` and a heartbeat interval.",
            "RETRY_LIMIT": "The number of retries, if neither the step nor the policy says otherwise.",
            "RETRY_DELAY_SECONDS": "The delay before the first retry, if neither the step nor the policy says "
            "otherwise.",
            "KEEP_STEP_LINES": "Keeps the newest lines that steps log and print. The policy `keepLogs` of a pipeline "
            "can only turn it off.",
        },
    ),
    Topic(
        "REST workers",
        "See [host REST workers](../how-to/host-rest-workers.md).",
        {
            "REST_WORKER_ORIGINS": "Origins, such as `https://worker.example:8443`, at which REST workers may be "
            "called. Empty: none. Work for others stays due.",
            "REST_WORKER_BASE_URL": "The address of REST workers that are registered without an endpoint.",
            "REST_WORKER_SECRET": "A secret shared with all REST workers. Without it, calls are signed with the "
            "tenant's worker key.",
            "REST_WORKER_SECRET_FALLBACKS": "Former values of `REST_WORKER_SECRET`. A worker that answers 401 is "
            "called again with each of them.",
            "REST_WORKER_TIMEOUT_SECONDS": "The maximum duration of a call.",
            "REST_WORKER_CA_FILE": "For REST workers.",
            "REST_WORKER_CAPACITY": "The number of attempts that one REST worker runs at a time. A change takes "
            "effect when it registers again.",
            "REST_WORKER_NON_RETRYABLE": "Failure classes of your applications that are not retried.",
        },
    ),
    Topic(
        "Tenants",
        "[Quotas](quotas.md) limit single tenants.",
        {
            "ALLOWED_TENANTS": "Tenants whose submissions and re-drives are accepted. Empty: all.",
            "TENANT_MAX_IN_FLIGHT": "The maximum number of `RUNNING` executions of one tenant. Further ones stay "
            "due. 0: no limit.",
            "MAX_TENANT_WORKERS": "The maximum number of live workers of a tenant. Within a day, ten times as many "
            "ids may be registered.",
        },
    ),
    Topic(
        "Retention",
        "See [remove old data](../how-to/remove-old-data.md).",
        {
            "RETENTION_DAYS": "The days for which executions of new tenants are kept after success or cancellation. "
            "0: forever.",
            "FAILED_RETENTION_DAYS": "The same for executions that failed permanently.",
            "WORKER_RETENTION_DAYS": "The days after which a stopped worker is removed with its events, unless it is "
            "drained.",
            "ALERT_RETENTION_DAYS": "The days after which resolved alerts and finished messages are removed.",
        },
    ),
    Topic(
        "Webhooks, alerts and e-mail",
        "See [set up alerts](../how-to/set-up-alerts.md).",
        {
            "WEBHOOK_ALLOWED_NETWORKS": "Where receivers of webhooks and alerts may be called.",
            "WEBHOOK_CA_FILE": "For receivers of webhooks and alerts.",
            "ALERT_SECRETS": "The secrets that channels may name: `tenant/name=reference`. A reference is `env:NAME` "
            "or `file:/path`, read for each message.",
            "ALERT_DOCS_URL": "The address of this documentation. Without it, messages of alerts link no runbook.",
            "EMAIL_HOST": "The mail server for alerts and invitations. Without it, no e-mail is sent.",
            "EMAIL_PORT": "The port of the mail server.",
            "EMAIL_USER": "The user name there. Without it, the coordinator does not log in.",
            "EMAIL_PASSWORD": "The password of this user.",
            "EMAIL_SECURITY": "How the connection is protected.",
            "EMAIL_FROM": "The sender. Required with `EMAIL_HOST`.",
        },
    ),
    Topic(
        "The /tpf surface",
        "See [interoperation](interoperation.md).",
        {
            **_surface("TPF_ADMIN", "`/tpf/admin`"),
            **_surface("TPF_CONTROL_PLANE", "`/tpf/control-plane`"),
            "TPF_CREATE_TENANTS": "Creates the tenant that a path of `/tpf` names at its first registration or "
            "submission.",
            "TPF_RELEASE_ROOTS": "Folders below which `/tpf/admin` may register releases from files. Links are "
            "resolved first. Empty: none.",
            "TPF_IDEMPOTENCY": "The idempotency key of a submission: with the first value the client's key, "
            "otherwise one derived from the input.",
            "TPF_DEPLOYMENTS_ENABLED": "Serves the deployment API.",
            "TPF_DEPLOYMENT_ENVIRONMENTS": "The environments of the deployment API, and the prefix that each adds to "
            "the organization for the tenant's slug: `environment=prefix`. Others are refused. Empty: all, without a "
            "prefix.",
            "PAYLOAD_TYPE_PREFIXES": "Prefixes of object types that are read from typed payloads. Types that a "
            "contract names are always read.",
        },
    ),
    Topic(
        "Metrics, logs and traces",
        "See [monitor the coordinator](../how-to/monitor.md).",
        {
            "METRICS_TOKEN": "The bearer token of `/metrics`. Without it, web processes serve `/metrics` at "
            "`METRICS_PORT` only.",
            "METRICS_PORT": "The port of `/metrics` and `/live`. 0: none. Each process of a host needs its own, "
            "except web processes of one parent.",
            "METRICS_HOST": "The address of that port.",
            "LOG_FORMAT": "The form of log lines, which go to standard error.",
            "LOG_LEVEL": "The lowest level of log lines.",
            "LOG_EXECUTIONS": "Writes a line at INFO when executions are accepted, claimed, recorded or cancelled.",
            "TRACES_ENDPOINT": "The OTLP/HTTP endpoint to which spans are exported. Without it, there are none.",
            "TRACES_SAMPLE": "The share of submissions without a `traceparent` header that are traced.",
        },
    ),
)
MEANINGS: Final[Mapping[str, str]] = {name: text for topic in TOPICS for name, text in topic.meanings.items()}
