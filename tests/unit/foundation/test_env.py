"""The typed readers of environment variables."""

import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from foundation.env import Environment
from tests import signing
from tests.cases import cases


def test_an_optional_secret_may_be_absent_but_never_short() -> None:
    assert Environment({}).secret("KEY", shortest=4, required=False) == ""
    assert Environment({"KEY": "long enough"}).secret("KEY", shortest=4, required=False) == "long enough"
    for required in (True, False):
        env = Environment({"KEY": "abc"})
        env.secret("KEY", shortest=4, required=required)
        with pytest.raises(ImproperlyConfigured, match="KEY must have at least 4 characters"):
            env.raise_problems()
    env = Environment({})
    env.secret("KEY", shortest=4)
    with pytest.raises(ImproperlyConfigured, match="KEY is required"):
        env.raise_problems()


def test_a_signing_key_is_read_from_a_file_and_never_reported(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(signing.private_pem())
    env = Environment({"KEY_FILE": str(file)})
    assert env.signing_key("KEY") == signing.private_pem().strip()
    assert Environment({}).signing_key("KEY") == ""
    env.raise_problems()
    for value in (signing.public_pem(), signing.private_pem()[:-40]):
        env = Environment({"KEY": value})
        assert env.signing_key("KEY") == ""
        with pytest.raises(ImproperlyConfigured, match="KEY must be an unencrypted ed25519 private key") as error:
            env.raise_problems()
        assert value.splitlines()[1] not in str(error.value)


def test_a_parsed_text_is_empty_by_default_and_its_problem_is_reported() -> None:
    def pair(text: str) -> tuple[str, ...]:
        if text.count("+") > 1:
            raise ValueError("must have at most one plus sign")
        return tuple(text.split("+"))

    assert Environment({}).parsed("PAIR", "pair", pair) == ("",)
    assert Environment({"PAIR": "a+b"}).parsed("PAIR", "pair", pair) == ("a", "b")
    env = Environment({"PAIR": "a+b+c"})
    assert env.parsed("PAIR", "pair", pair) == ("",)
    with pytest.raises(ImproperlyConfigured, match="PAIR must have at most one plus sign"):
        env.raise_problems()


def test_networks() -> None:
    assert Environment({}).networks("NETS") == []
    env = Environment({"NETS": "10.0.0.0/8, fd00::/8,"})
    assert env.networks("NETS") == [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    env.raise_problems()


@cases("value", ["10.0.0.1/8", "example.org", "10.0.0.0/33"])
def test_an_invalid_network_is_reported(value: str) -> None:
    env = Environment({"NETS": value})
    env.networks("NETS")
    with pytest.raises(ImproperlyConfigured, match="NETS must be networks in CIDR form"):
        env.raise_problems()


def problem(env: Environment) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        env.raise_problems()
    return str(caught.value)


def test_origins_have_nothing_after_the_port() -> None:
    env = Environment({"GOOD": "https://a.example:8443, http://10.0.0.1", "NONE": ""})
    assert env.origins("GOOD") == ["https://a.example:8443", "http://10.0.0.1"]
    assert env.origins("NONE") == []
    env.raise_problems()
    for value in ("https://a.example/", "a.example", "ftp://a.example", "https://", "https://a.example/x?y"):
        env = Environment({"BAD": value})
        env.origins("BAD")
        assert "BAD must be origins" in problem(env)


def test_paths_are_absolute() -> None:
    env = Environment({"GOOD": "/srv/a, /srv/b"})
    assert [str(path) for path in env.paths("GOOD")] == ["/srv/a", "/srv/b"]
    env = Environment({"BAD": "srv"})
    env.paths("BAD")
    assert "BAD must be absolute paths" in problem(env)


def test_a_choice_is_one_of_the_choices() -> None:
    assert Environment({"ONE": "b"}).choice("ONE", ("a", "b"), "a") == "b"
    env = Environment({"ONE": "c"})
    assert env.choice("ONE", ("a", "b"), "a") == "a"
    assert "ONE must be one of a, b" in problem(env)


@cases("surface", ["TPF_ADMIN", "TPF_CONTROL_PLANE"])
@cases(
    ("variables", "problem"),
    [
        ({"ENABLED": "true"}, "{0}_TOKEN or {0}_TOKEN_REF or {0}_TENANT_TOKENS is required when {0}_ENABLED=true"),
        ({"TOKEN": "a-secret", "TOKEN_REF": "env:X"}, "Configure only one of {0}_TOKEN or {0}_TOKEN_REF"),
        ({"TOKEN_REF": "/a/path"}, "{0}_TOKEN_REF must be env:NAME or file:/path"),
    ],
)
def test_each_compatibility_surface_has_one_kind_of_token(
    surface: str, variables: dict[str, str], problem: str
) -> None:
    """The settings are loaded in a separate process."""
    environment = {
        "SECRET_KEY": "x" * 32,
        "WORKER_SECRET": "x" * 32,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        **{f"{surface}_{name}": value for name, value in variables.items()},
    }
    done = subprocess.run(
        [sys.executable, "-c", "import coordinator.settings"],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert problem.format(surface) in done.stderr
    assert "a-secret" not in done.stderr


def test_credentials_are_read_by_host_and_never_reported() -> None:
    value = "registry.example:5000=eva:p=a:ss, other.example=ci:word\n"
    assert Environment({"KEYS": value}).credentials("KEYS") == {
        "registry.example:5000": "eva:p=a:ss",
        "other.example": "ci:word",
    }
    assert Environment({}).credentials("KEYS") == {}
    for wrong in ("registry.example", "registry.example=eva", "=eva:secret", "r=:secret", "r=eva:", "r=eva:sécret"):
        env = Environment({"KEYS": wrong})
        env.credentials("KEYS")
        reported = problem(env)
        assert "KEYS must be of the form host=user:password" in reported
        assert "secret" not in reported


def test_grants_are_read_by_name() -> None:
    value = "tpf:deploy=releases:register, tpf:deploy=read\nx=y=read,"
    read = Environment({"GRANTS": value}).grants("GRANTS", of=["read", "releases:register"])
    assert read == {"tpf:deploy": ["releases:register", "read"], "x=y": ["read"]}
    assert Environment({}).grants("GRANTS", of=["read"]) == {}
    for wrong in ("read", "=read", "deploy=", "deploy=write", "deploy:read"):
        env = Environment({"GRANTS": wrong})
        assert env.grants("GRANTS", of=["read"]) == {}
        assert "GRANTS must be of the form name=grant, separated by commas, with one of read" in problem(env)


def test_a_secure_url_uses_http_for_loopback_addresses_only() -> None:
    for url in ("https://a.example/keys", "HTTPS://a.example", "http://127.0.0.1:8080/keys", "http://[::1]/keys"):
        env = Environment({"URL": url})
        assert env.url("URL", secure=True) == url
        env.raise_problems()
    for url in ("http://a.example/keys", "http://localhost/keys", "http://10.0.0.1", "http://[::2]"):
        env = Environment({"URL": url})
        assert env.url("URL", secure=True) == ""
        assert "URL must begin with https://" in problem(env)


def test_prefixes_of_tenants_are_read_by_name() -> None:
    read = Environment({"PLACES": "production=, eu west=eu-,,été=x"}).tenant_prefixes("PLACES")
    assert read == {"production": "", "eu west": "eu-", "été": "x"}
    assert Environment({}).tenant_prefixes("PLACES") == {}
    for wrong in ("production", "=x", "a=b,a=c", "a=B", "a=b=c", "a = b", f"a={'x' * 63}", "a\u200b=b", "..=b"):
        env = Environment({"PLACES": wrong})
        assert env.tenant_prefixes("PLACES") == {}
        assert "PLACES must be of the form name=prefix, separated by commas" in problem(env)
