import os
import runpy
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import Tags, run_checks
from django.test import override_settings

from coordinator import settings
from coordinator.settings import env
from embedded.product import BIN, PROJECT
from tests.cases import cases
from tests.raising import error_of
from tests.words import words

VALID = {
    "SECRET_KEY": "x" * 32,
    "WORKER_SECRET": "x" * 32,
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
CERTIFICATE = Path(__file__).parents[1] / "foundation" / "tls" / "receiver.pem"
MARK = "2f1e"
LONG = MARK + "x" * 16
"""Part of every invalid value, and of no message."""
BY_KIND = {
    "integer": [f"-{MARK}", "0.5", "-1", "9" * 30, "1_0"],
    "number": [MARK + "x", "-1", "nan", "1e300", "1_0"],
    "flag": [f"yes{MARK}"],
    "choice": [f"loud{MARK}"],
    "URL": [
        f"ftp://{MARK}",
        MARK,
        *words(f"https://h:{MARK} https:// https://[{MARK} https://h/?{MARK} https://h/#{MARK} https://user:{MARK}@h/"),
    ],
    "file": [f"/nowhere/{MARK}", __file__],
    # A reference would be taken for the secret itself.
    "secret": [f"env:{MARK}{'x' * 32}", f"file:/{MARK}{'x' * 32}"],
    "PostgreSQL URL": [
        f"mysql://h/{MARK}",
        *(f"postgresql://{rest}" for rest in (f"h:{MARK}/n", f"h:1/n?sslmode={MARK}", "h", f"[{MARK}/n")),
    ],
    "Redis URL": words(
        f"""
        amqp://{MARK} redis://h:{MARK}/0 redis:// unix:///{MARK} rediss://h:1/0#{MARK} sentinel://h/{MARK}
        sentinels://h/broker/0?{MARK}
        """
    ),
}
MARKED = (
    *words("SECRET_KEY WORKER_SECRET REST_WORKER_SECRET RESUME_TOKEN_SECRET METRICS_TOKEN TPF_RELEASE_ROOTS"),
    *(f"TPF_{name}_TOKEN{reference}" for name in ("ADMIN", "CONTROL_PLANE") for reference in ("", "_REF")),
)
NETWORKED = ("IMAGE_REGISTRY", "MAVEN", "OAUTH", "OIDC", "WEBHOOK")
NETWORKS = (*(f"{name}_ALLOWED_NETWORKS" for name in NETWORKED), "TRUSTED_PROXIES")
BY_NAME = {
    **{key: [MARK] for key in MARKED},
    **{key: [f"10.0.0.{MARK}/8", "10.0.0.1/8", "example.org", "10.0.0.0/33"] for key in NETWORKS},
    **{key: ["36501"] for key in ("RETENTION_DAYS", "FAILED_RETENTION_DAYS")},
    **{key: ["65536"] for key in ("EMAIL_PORT", "METRICS_PORT")},
    "WORKER_SECRET_FALLBACKS": [f"{'x' * 32},{MARK}", ",".join([f"{MARK}{'x' * 32}"] * 4)],
    "REST_WORKER_SECRET_FALLBACKS": [",".join([MARK] * 4)],
    "PROVENANCE_KEY": [MARK, f"-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----"],
    "RESUME_TOKEN_SECRET_FALLBACKS": [MARK, f"{'x' * 32},{MARK}"],
    "ARTIFACT_STORE_OPTIONS": [f'["{MARK}"]', f'{{"s3": "{MARK}"}}', f'{{"{MARK}": {{}}}}', "{" + MARK],
    "SECRET_KEY_FALLBACKS": [MARK, f"{'x' * 32} {MARK}"],
    "TPF_ADMIN_TENANT_TOKENS": [MARK, f"acme={LONG},=x", f"Acme={LONG}", "acme=", f"acme={MARK}", f"acme=env:{LONG}"],
    "TPF_CONTROL_PLANE_TENANT_TOKENS": [MARK, f"acme={LONG},b", f"acme=file:/{LONG}"],
    "ALLOWED_TENANTS": [f"{MARK} inc", "acme,Upper"],
    "ALLOWED_HOSTS": [f"https://{MARK}", f"a {MARK}"],
    "CSRF_TRUSTED_ORIGINS": [MARK, f"https://h/{MARK}", f"https://{MARK}@h"],
    "IMAGE_REGISTRIES": [f"https://{MARK}"],
    "IMAGE_REGISTRIES_PLAIN_HTTP": [f"h/{MARK}"],
    "IMAGE_REGISTRY_CREDENTIALS": [MARK, f"h=env:{MARK}", f"r={MARK}", f"=eva:{MARK}", f"r={MARK}:", f"r=eva:é{MARK}"],
    "MAVEN_REPOSITORIES": [
        f"[{MARK}",
        f'[[repositories]]\nid = "{MARK}"',
        f'[[repositories]]\nurl = "http://{MARK}"',
        f'[[repositories]]\nid = "a"\nurl = "https://h"\ngroups = ["com"]\ncredentials = "{MARK}"',
    ],
    "ALERT_SECRETS": [
        *words(f"acme acme/{MARK} acme/{MARK}= acme=env:A /a=env:A acme/=env:A acme/a={MARK} acme/a=env: Acme/a=env:A"),
        *words(f"acme/a=file:{MARK} acme/a=env:{MARK} acme/a/b=env:A acme/a=env:A,acme/a=env:B{MARK}"),
        f"acme/a b=env:{MARK}A",
    ],
    "ALERT_RETENTION_DAYS": ["0", "36501"],
    "OAUTH_SCOPES": [MARK, f"=read,{MARK}", f"a={MARK}", f"{MARK}=", f"a=read {MARK}=Read"],
    "OIDC_ROLES": [MARK, f"={MARK}", f"a=acme/{MARK}", f"{MARK}=acme/", f"a=acme/viewer,{MARK}"],
    "OIDC_GROUPS": [MARK, f"a=Acme/{MARK}", f"{MARK}=acme/", f"a=acme/{'x' * 101}"],
    "OIDC_PROVIDER": ["a/b", "-"],
    "REST_WORKER_ORIGINS": [f"https://h/{MARK}", f"https://h:{MARK}", f"https://{MARK}@h"],
    "TPF_DEPLOYMENT_ENVIRONMENTS": [
        *words(f"{MARK} ={MARK} a={MARK},a=b a=B{MARK} \u200b{MARK}=b a={'x' * 63}"),
        f"a= {MARK}",
    ],
    "TOKEN_MAX_DAYS": ["0", "366"],
    "SESSION_IDLE_SECONDS": ["0", "86401"],
    "SESSION_MAX_SECONDS": ["2592001"],
    "WEB_PORT": ["0", "65536"],
    "WEB_PROCESSES": ["0", "65"],
}
ANY_VALUE = set(
    words(
        """
        ARTIFACT_ROOT STATIC_ROOT S3_BUCKET S3_PREFIX S3_REGION PAYLOAD_TYPE_PREFIXES WEB_HOST
        REST_WORKER_NON_RETRYABLE DATABASE_APPLICATION_ROLE METRICS_HOST OAUTH_ISSUER OAUTH_AUDIENCE
        OAUTH_ORGANIZATION_CLAIM OIDC_CLIENT_ID OIDC_NAME OIDC_SCOPES OIDC_USERNAME_CLAIM OIDC_GROUPS_CLAIM
        EMAIL_HOST EMAIL_USER EMAIL_FROM
        """
    )
)
"""Names, prefixes, keys and folders, which may have any value."""
INVALID = {
    name: [*BY_KIND.get(variable.kind.partition(",")[0], []), *BY_NAME.get(name, [])]
    for name, variable in env.declared.items()
    if name not in ANY_VALUE
}
POOLED = {"DATABASE_URL": f"{VALID['DATABASE_URL']}?options=-c%20jit%3Doff", "DATABASE_POOLER": "transaction"}


def load(**changes: str) -> dict[str, Any]:
    """Load the settings in an environment with nothing but VALID and the changes."""
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            environment.delenv(name)
        for name, value in {**VALID, **changes}.items():
            environment.setenv(name, value)
        return runpy.run_path(settings.__file__)


def refused(**changes: str) -> list[str]:
    """Load the settings, which must fail. Return the lines that the process writes, which contain no value."""
    ended = str(error_of(SystemExit, load, **changes))
    assert MARK not in ended
    first, *problems = ended.splitlines()
    assert first == "Invalid configuration:"
    return problems


def test_orphans_are_removed_only_if_that_is_enabled() -> None:
    for swept in ("true", "false"):
        assert ("remove-orphans" in load(ORPHAN_SWEEP=swept)["CELERY_BEAT_SCHEDULE"]) is (swept == "true")


def test_all_invalid_values_are_reported_at_once() -> None:
    assert [name for name, values in INVALID.items() if not values] == []
    assert env.declared.keys() >= ANY_VALUE | BY_NAME.keys()
    for turn in range(max(map(len, INVALID.values()))):
        problems = refused(**{name: values[turn % len(values)] for name, values in INVALID.items()})
        assert {problem.split()[0] for problem in problems} >= INVALID.keys()
        assert len(problems) == len(set(problems))


OAUTH = {
    "OAUTH_ISSUER": "https://issuer.example/",
    "OAUTH_JWKS_URL": "https://issuer.example/keys",
    "OAUTH_AUDIENCE": "coordinator",
}
OIDC = {"OIDC_ISSUER": "https://id.example/realms/acme", "OIDC_CLIENT_ID": "coordinator", "OIDC_CLIENT_SECRET": LONG}
OAUTH_HTTP = {**OAUTH, "OAUTH_JWKS_URL": "http://127.0.0.1.example/keys"}
CONTRADICTIONS: list[tuple[dict[str, str], str]] = [
    ({"TRUSTED_PROXIES": MARK}, "TRUSTED_PROXIES must be networks in CIDR form"),
    ({"IMAGE_REGISTRY_CREDENTIALS": MARK}, "IMAGE_REGISTRY_CREDENTIALS must be of the form host=user:password"),
    ({"OAUTH_SCOPES": MARK}, "OAUTH_SCOPES must be of the form name=grant, separated by commas, with one of "),
    ({"TPF_DEPLOYMENT_ENVIRONMENTS": MARK}, "TPF_DEPLOYMENT_ENVIRONMENTS must be of the form name=prefix, "),
    # Workers and leases last until a lost message path is noticed.
    ({"WORKER_STALE_SECONDS": "24"}, "WORKER_STALE_SECONDS must be at least "),
    ({"LEASE_SECONDS": "22"}, "LEASE_SECONDS must be at least "),
    ({"SWEEP_SECONDS": "6.7", "WORKER_STALE_SECONDS": "60"}, "LEASE_SECONDS must be at least "),
    ({"ARTIFACT_STORE": "gcs", "ARTIFACT_STORE_OPTIONS": ""}, "ARTIFACT_STORE_OPTIONS must contain bucket_name"),
    (POOLED, "DATABASE_URL must not have options if DATABASE_POOLER is transaction: "),
    ({"REDIS_CA_FILE": str(CERTIFICATE)}, "REDIS_CA_FILE requires a REDIS_URL that begins with rediss://"),
    ({"EMAIL_HOST": "mail.example"}, "EMAIL_HOST and EMAIL_FROM must both be set, or neither"),
    *(({**OAUTH, missing: ""}, "OAUTH_ISSUER, OAUTH_JWKS_URL and OAUTH_AUDIENCE must all be set") for missing in OAUTH),
    *(
        ({**OIDC, missing: ""}, "OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET must all be set")
        for missing in OIDC
    ),
    ({"OIDC_ROLES": "a=acme/viewer"}, "OIDC_ROLES and OIDC_GROUPS require OIDC_ISSUER"),
    (OAUTH_HTTP, "OAUTH_JWKS_URL must begin with https://, unless its host is a loopback address"),
    ({"HSTS_PRELOAD": "true"}, "HSTS_PRELOAD needs "),
    ({"HSTS_PRELOAD": "true", "HSTS_SUBDOMAINS": "true", "HSTS_SECONDS": "3600"}, "HSTS_PRELOAD needs "),
    *(({f"{name}_ENABLED": "true"}, f"{name}_TOKEN or ") for name in ("TPF_ADMIN", "TPF_CONTROL_PLANE")),
    ({"TPF_ADMIN_TOKEN": LONG, "TPF_ADMIN_TOKEN_REF": "env:X"}, "Configure only one of TPF_ADMIN_TOKEN or "),
    ({"TPF_ADMIN_TOKEN_REF": "/a/path"}, "TPF_ADMIN_TOKEN_REF must be env:NAME or file:/path"),
]


@cases(("changes", "says"), CONTRADICTIONS)
def test_settings_that_contradict_one_another_are_refused(changes: dict[str, str], says: str) -> None:
    assert refused(**changes)[0].startswith(f"  {says}")


def test_djangos_own_checks_find_nothing_in_production() -> None:
    production = {"SECRET_KEY": secrets.token_urlsafe(48), "HSTS_SUBDOMAINS": "true", "HSTS_PRELOAD": "true"}
    checked = ("SECURE_", "SESSION_", "CSRF_", "SECRET_KEY", "ALLOWED_HOSTS", "DEBUG", "X_FRAME", "MIDDLEWARE")
    security = {name: value for name, value in load(**production).items() if name.startswith(checked)}
    with override_settings(**security):
        assert run_checks(tags=[Tags.security], include_deployment_checks=True) == []


def test_only_behind_a_proxy_a_header_says_that_a_client_uses_tls() -> None:
    assert load(BEHIND_PROXY="false")["SECURE_PROXY_SSL_HEADER"] is None
    assert load(BEHIND_PROXY="true")["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")


def test_a_process_ends_with_the_list() -> None:
    command = [str(Path(BIN) / "celery"), "-A", "coordinator.celery", "worker"]
    wrong = {"LOG_LEVEL": f"loud{MARK}", "SWEEP_SECONDS": "1e20"}
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "coordinator.settings", **VALID, **wrong}
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert [text in done.stderr for text in ("Traceback", MARK)] == [False, False]
    lines = done.stderr.splitlines()
    at = lines.index("Invalid configuration:")
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["SWEEP_SECONDS", "LOG_LEVEL"]
