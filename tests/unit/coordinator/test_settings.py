"""Invalid settings end every process at its start with a list of all problems, without a traceback or a value."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.settings import env
from embedded.children import free_port
from embedded.product import BIN, PROJECT
from tests.cases import cases

VALID = {
    "SECRET_KEY": "x" * 32,
    "WORKER_SECRET": "x" * 32,
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
CERTIFICATE = Path(__file__).parents[1] / "foundation" / "tls" / "receiver.pem"
MARK = "2f1e"
"""Part of every invalid value, and of no message."""
BY_KIND = {
    "integer": [f"-{MARK}", "0.5", "-1", "9" * 30, "1_0", "٣"],
    "number": [MARK + "x", "-1", "nan", "inf", "1e300", "1_0", "٣", "1.٣", "0x1"],
    "flag": [f"yes{MARK}"],
    "choice": [f"loud{MARK}"],
    "URL": [
        *(f"ftp://{MARK}", MARK, f"https://h:{MARK}", "https://", f"https://[{MARK}"),
        *(f"https://h/?{MARK}", f"https://h/#{MARK}", "https://h?", "https://h#"),
        *(f"https://{MARK}@h", f"https://user:{MARK}@h/", "https://@h"),
    ],
    "file": [f"/nowhere/{MARK}", __file__],
    "PostgreSQL URL": [
        *(f"mysql://h/{MARK}", f"postgresql://h:{MARK}/n", f"postgresql://h:1/n?sslmode={MARK}", "postgresql://h"),
        f"postgresql://[{MARK}/n",
    ],
    "Redis URL": [
        f"amqp://{MARK}",
        f"redis://h:{MARK}/0",
        f"redis://h:1/{MARK}",
        "redis://",
        f"unix:///{MARK}",
        *(f"rediss://h:1/0?ssl_cert_reqs={MARK}", f"rediss://h:1/0#{MARK}"),
        *(f"sentinel://h:{MARK}/broker/0", f"sentinel://h/{MARK}", f"sentinels://h/broker/0?{MARK}"),
    ],
}
BY_NAME = {
    "SECRET_KEY": [MARK],
    "WORKER_SECRET": [MARK],
    "WORKER_SECRET_FALLBACKS": [MARK, f"{'x' * 32},{MARK}", ",".join([f"{MARK}{'x' * 32}"] * 4)],
    "REST_WORKER_SECRET_FALLBACKS": [",".join([MARK] * 4)],
    "PROVENANCE_KEY": [MARK, f"-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----"],
    "RESUME_TOKEN_SECRET": [MARK],
    "RESUME_TOKEN_SECRET_FALLBACKS": [MARK, f"{'x' * 32},{MARK}"],
    "ARTIFACT_STORE_OPTIONS": [
        *(MARK, f'["{MARK}"]', f'{{"s3": "{MARK}"}}', f'{{"{MARK}": {{}}}}', "{" + MARK),
        f'{{"s3": {{"a": "{MARK}", "a": 1}}}}',
    ],
    "SECRET_KEY_FALLBACKS": [MARK, f"{'x' * 32} {MARK}"],
    "TPF_ADMIN_TENANT_TOKENS": [MARK, f"acme={MARK},=x", f"Acme={MARK}", "acme="],
    "TPF_CONTROL_PLANE_TENANT_TOKENS": [MARK, f"acme={MARK},b"],
    "ALLOWED_TENANTS": [f"{MARK} inc", "acme,Upper"],
    "ALLOWED_HOSTS": [f"https://{MARK}", f"a {MARK}"],
    "CSRF_TRUSTED_ORIGINS": [MARK, f"https://h/{MARK}", f"https://{MARK}@h"],
    "IMAGE_REGISTRIES": [f"https://{MARK}"],
    "IMAGE_REGISTRIES_PLAIN_HTTP": [f"h/{MARK}"],
    "IMAGE_REGISTRY_CREDENTIALS": [MARK],
    "IMAGE_REGISTRY_ALLOWED_NETWORKS": [f"10.0.0.{MARK}/8"],
    "MAVEN_REPOSITORIES": [
        *(MARK, f"[{MARK}", f'[[repositories]]\nid = "{MARK}"', f'[[repositories]]\nurl = "http://{MARK}"'),
        f'[[repositories]]\nid = "a"\nurl = "https://h"\ngroups = ["com.{MARK}*"]',
        f'[[repositories]]\nid = "a"\nurl = "https://h"\ngroups = ["com"]\ncredentials = "{MARK}"',
    ],
    "MAVEN_ALLOWED_NETWORKS": [f"10.0.0.{MARK}/8"],
    "WEBHOOK_ALLOWED_NETWORKS": [f"10.0.0.{MARK}/8"],
    "ALERT_SECRETS": [
        *(MARK, f"acme={MARK}", f"acme/a={MARK}", f"acme/a=env:{MARK}", f"Acme/a=env:{MARK}x", f"acme/a b=env:X{MARK}"),
        f"acme/a=env:A,acme/a=env:B{MARK}",
    ],
    "ALERT_RETENTION_DAYS": ["0", "36501"],
    "EMAIL_PORT": ["65536"],
    "OAUTH_ALLOWED_NETWORKS": [f"10.0.0.{MARK}/8"],
    "OAUTH_SCOPES": [MARK, f"=read,{MARK}", f"a={MARK}", f"{MARK}=", f"a=read {MARK}=Read"],
    "REST_WORKER_ORIGINS": [f"https://h/{MARK}", f"https://h:{MARK}", f"https://{MARK}@h"],
    "TPF_RELEASE_ROOTS": [MARK],
    "TPF_DEPLOYMENT_ENVIRONMENTS": [MARK, f"={MARK}", f"a={MARK},a=b", f"a= {MARK}", f"a=B{MARK}", f"\u200b{MARK}=b"],
    "TPF_DEPLOYMENT_WAIT_SECONDS": ["60", "59.1"],
    "TPF_ADMIN_TOKEN_REF": [MARK],
    "TPF_CONTROL_PLANE_TOKEN_REF": [MARK],
    "RETENTION_DAYS": ["36501"],
    "FAILED_RETENTION_DAYS": ["36501"],
    "TOKEN_MAX_DAYS": ["0", "366"],
    "TRUSTED_PROXIES": [f"10.0.0.{MARK}/8"],
    "SESSION_IDLE_SECONDS": ["0", "86401"],
    "SESSION_MAX_SECONDS": ["2592001"],
    "LOGIN_WINDOW_SECONDS": ["0.5", "86401"],
    "WEB_PORT": ["0", "65536"],
    "WEB_RESERVED_SLOTS": ["0"],
    "WEB_WAIT_SECONDS": ["0"],
    "WEB_PROCESSES": ["0", "65"],
    "METRICS_TOKEN": [MARK],
    "METRICS_PORT": ["65536"],
}
ANY_VALUE = {
    *("ARTIFACT_ROOT", "STATIC_ROOT", "S3_BUCKET", "S3_PREFIX", "S3_REGION", "PAYLOAD_TYPE_PREFIXES", "WEB_HOST"),
    *("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "REST_WORKER_SECRET", "REST_WORKER_NON_RETRYABLE"),
    *("TPF_ADMIN_TOKEN", "TPF_CONTROL_PLANE_TOKEN", "DATABASE_APPLICATION_ROLE"),
    *("DATABASE_OWNER_PASSWORD", "DATABASE_APPLICATION_PASSWORD"),
    *("METRICS_HOST", "METRICS_FOLDER"),
    *("OAUTH_ISSUER", "OAUTH_AUDIENCE", "OAUTH_ORGANIZATION_CLAIM"),
    *("EMAIL_HOST", "EMAIL_USER", "EMAIL_PASSWORD", "EMAIL_FROM"),
}
"""Names, prefixes, keys and folders, which may have any value."""
INVALID = {
    name: [*BY_KIND.get(variable.kind, []), *BY_NAME.get(name, [])]
    for name, variable in env.declared.items()
    if name not in ANY_VALUE
}


FORKS = """
import json, os, sys
import coordinator.settings

for changes in json.loads(sys.argv[1]):
    if not os.fork():
        del sys.modules["coordinator.settings"]
        os.environ.update(changes)
        import coordinator.settings
        sys.exit()
    _, status = os.wait()
    print("end", status, file=sys.stderr, flush=True)
"""
"""Loads the settings with each of the changes, in forks of a process that has imported everything that they use."""


def started(command: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "coordinator.settings", **VALID, **changes}
    return subprocess.run(
        command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )


def refused(command: list[str], **changes: str) -> list[str]:
    """Run `command`, which must fail. Return the lines of its error output, which must not contain the values."""
    done = started(command, **changes)
    assert done.returncode != 0
    return _shown(done.stderr)


def refused_each(*changes: dict[str, str]) -> Iterator[list[str]]:
    """Load the settings with each of the changes, which must fail. Yield the lines of each error output."""
    done = started([sys.executable, "-c", FORKS, json.dumps(changes)])
    assert done.returncode == 0, done.stderr
    *outputs, rest = re.split(r"^end (\d+)\n", done.stderr, flags=re.MULTILINE)
    assert (len(outputs), rest) == (2 * len(changes), "")
    for output, status in zip(outputs[::2], outputs[1::2], strict=True):
        assert status != "0", output
        yield _shown(output)


def _shown(output: str) -> list[str]:
    assert "Traceback" not in output
    assert MARK not in output
    return output.splitlines()


def values(*names: str, **changes: str) -> str:
    """Return the settings with these names, which must be valid."""
    program = f"from coordinator import settings as s; print({', '.join(f's.{name}' for name in names)})"
    done = started([sys.executable, "-c", program], **changes)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_every_setting_has_invalid_values_or_takes_any() -> None:
    assert [name for name, values in INVALID.items() if not values] == []
    assert env.declared.keys() >= ANY_VALUE | BY_NAME.keys()


def test_all_invalid_values_are_reported_at_once() -> None:
    """In each turn, every setting has one of its invalid values."""
    turns = [
        {name: values[turn % len(values)] for name, values in INVALID.items()}
        for turn in range(max(map(len, INVALID.values())))
    ]
    for [first, *problems] in refused_each(*turns):
        assert first == "Invalid configuration:"
        assert {problem.split()[0] for problem in problems} >= INVALID.keys()
        assert len(problems) == len(set(problems))


OAUTH = {
    "OAUTH_ISSUER": "https://issuer.example/",
    "OAUTH_JWKS_URL": "https://issuer.example/keys",
    "OAUTH_AUDIENCE": "coordinator",
}
ALL_OAUTH = "OAUTH_ISSUER, OAUTH_JWKS_URL and OAUTH_AUDIENCE must all be set, or none"
CONTAINERS = {"gcs": "bucket_name", "azure": "azure_container"}
TPF = ("TPF_ADMIN", "TPF_CONTROL_PLANE")


CONTRADICTIONS: list[tuple[dict[str, str], str]] = [
    # Workers and leases last until a lost message path is noticed.
    ({"WORKER_STALE_SECONDS": "24"}, "WORKER_STALE_SECONDS must be at least "),
    (
        {"WORKER_STALE_SECONDS": "2.4", "LEASE_SECONDS": "3", "SWEEP_SECONDS": "0.5"},
        "WORKER_STALE_SECONDS must be at least ",
    ),
    ({"LEASE_SECONDS": "22"}, "LEASE_SECONDS must be at least "),
    ({"SWEEP_SECONDS": "6.7", "WORKER_STALE_SECONDS": "60"}, "LEASE_SECONDS must be at least "),
    *(
        (
            {"ARTIFACT_STORE": store, "ARTIFACT_STORE_OPTIONS": options.replace("STORE", store)},
            f"ARTIFACT_STORE_OPTIONS must contain {container} for {store} if ARTIFACT_STORE is {store}",
        )
        for store, container in CONTAINERS.items()
        for options in ("", '{"STORE": {"location": "a"}}')
    ),
    (
        {"DATABASE_URL": f"{VALID['DATABASE_URL']}?options=-c%20jit%3Doff", "DATABASE_POOLER": "transaction"},
        "DATABASE_URL must not have options if DATABASE_POOLER is transaction: ",
    ),
    (
        {"REDIS_CA_FILE": str(CERTIFICATE)},
        "REDIS_CA_FILE requires a REDIS_URL that begins with rediss:// or sentinels://",
    ),
    ({"EMAIL_HOST": "mail.example"}, "EMAIL_HOST and EMAIL_FROM must both be set, or neither"),
    ({"EMAIL_FROM": "coordinator@example.com"}, "EMAIL_HOST and EMAIL_FROM must both be set, or neither"),
    *(({**OAUTH, missing: ""}, ALL_OAUTH) for missing in OAUTH),
    *(({name: value}, ALL_OAUTH) for name, value in OAUTH.items()),
    *(
        (
            {**OAUTH, "OAUTH_JWKS_URL": f"http://{host}/keys"},
            "OAUTH_JWKS_URL must begin with https://, unless its host is a loopback address",
        )
        for host in ("issuer.example", "127.0.0.1.example")
    ),
    *(
        ({"HSTS_PRELOAD": "true", **changes}, "HSTS_PRELOAD needs ")
        for changes in ({}, {"HSTS_SUBDOMAINS": "true", "HSTS_SECONDS": "3600"}, {"HTTPS_ONLY": "false"})
    ),
    *(
        ({f"{name}_ENABLED": "true"}, f"{name}_TOKEN or {name}_TOKEN_REF or {name}_TENANT_TOKENS is required when ")
        for name in TPF
    ),
    *(
        (
            {f"{name}_TOKEN": MARK, f"{name}_TOKEN_REF": "env:X"},
            f"Configure only one of {name}_TOKEN or {name}_TOKEN_REF",
        )
        for name in TPF
    ),
    *(({f"{name}_TOKEN_REF": "/a/path"}, f"{name}_TOKEN_REF must be env:NAME or file:/path") for name in TPF),
]


def test_settings_that_contradict_one_another_are_refused(subtests: pytest.Subtests) -> None:
    outputs = refused_each(*(changes for changes, _ in CONTRADICTIONS))
    for (changes, says), [_, problem, *_] in zip(CONTRADICTIONS, outputs, strict=True):
        with subtests.test(str(changes)):
            assert problem.startswith(f"  {says}")


def test_the_shortest_accepted_times() -> None:
    for changes in (
        {"WORKER_STALE_SECONDS": "25", "LEASE_SECONDS": "22.5"},
        {"WORKER_STALE_SECONDS": "2.5", "LEASE_SECONDS": "3", "SWEEP_SECONDS": "0.5"},
    ):
        stale, lease = changes["WORKER_STALE_SECONDS"], changes["LEASE_SECONDS"]
        found = values("WORKER_STALE_SECONDS", "LEASE_SECONDS", **changes).split()
        assert [float(each) for each in found] == [float(stale), float(lease)]


def test_valid_oauth_settings() -> None:
    for origin in ("https://issuer.example", "http://[::1]:8080"):
        changes = {**OAUTH, "OAUTH_JWKS_URL": f"{origin}/keys", "OAUTH_SCOPES": "a=read, a=executions:submit\nx=y=read"}
        scopes = {"a": ["read", "executions:submit"], "x=y": ["read"]}
        found = values("OAUTH_ISSUER", "OAUTH_JWKS_URL", "OAUTH_SCOPES", **changes)
        assert found == f"https://issuer.example/ {origin}/keys {scopes}"


@cases(("behind", "changes"), [("true", {}), ("false", {"ARTIFACT_STORE": "s3", "S3_BUCKET": "releases"})])
def test_djangos_own_checks_find_nothing_in_production(behind: str, changes: dict[str, str]) -> None:
    production = {"SECRET_KEY": secrets.token_urlsafe(48), "HSTS_SUBDOMAINS": "true", "HSTS_PRELOAD": "true"}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level=WARNING"]
    done = started(command, **production, BEHIND_PROXY=behind, **changes)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_only_behind_a_proxy_a_header_says_that_a_client_uses_tls() -> None:
    assert values("SECURE_PROXY_SSL_HEADER", BEHIND_PROXY="false") == "None"
    assert values("SECURE_PROXY_SSL_HEADER", BEHIND_PROXY="true") == "('HTTP_X_FORWARDED_PROTO', 'https')"


MAVEN = """
[[repositories]]
id = "acme"
url = "https://maven.example"
groups = ["com.acme.*"]
credentials = "env:ACME_MAVEN"
"""


def test_maven_repositories_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "repositories.toml"
    file.write_text(MAVEN)
    assert "groups=('com.acme.*',)" in values("MAVEN_REPOSITORIES", MAVEN_REPOSITORIES_FILE=str(file))
    file.write_text(MAVEN + MAVEN.replace('"acme"', '"second"').replace("com.acme.*", f"*{MARK}"))
    [[_, problem]] = refused_each({"MAVEN_REPOSITORIES_FILE": str(file)})
    assert problem.startswith("  MAVEN_REPOSITORIES entry 2: groups must be a list of groups such as com.acme")


def test_missing_settings_are_reported_at_once() -> None:
    [lines] = refused_each(dict.fromkeys(VALID, ""))
    assert lines == ["Invalid configuration:", *(f"  {name} is required" for name in VALID)]


@cases(
    "command",
    [
        [sys.executable, "manage.py", "check"],
        [sys.executable, "manage.py", "migrate"],
        [str(Path(BIN) / "celery"), "-A", "coordinator.celery", "worker"],
        [str(Path(BIN) / "celery"), "-A", "coordinator.celery", "beat"],
        [str(Path(BIN) / "granian"), "--interface=wsgi", "coordinator.wsgi:application", f"--port={free_port()}"],
        [str(Path(BIN) / "coordinator"), "run", "web"],
    ],
)
def test_every_process_ends_with_the_list(command: list[str]) -> None:
    lines = refused(command, LOG_LEVEL=f"loud{MARK}", SWEEP_SECONDS="1e20")
    at = lines.index("Invalid configuration:")
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["SWEEP_SECONDS", "LOG_LEVEL"]
