"""The typed readers of environment variables."""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from foundation.env import Environment
from tests.cases import cases

GRANTS = "tpf:deploy=releases:register, tpf:deploy=read\nx=y=read,"
CREDENTIALS = "registry.example:5000=eva:p=a:ss, other.example=ci:word\n"


@cases(
    ("read", "good", "expected", "wrong", "says"),
    [
        (
            lambda env: env.networks("X"),
            "10.0.0.0/8, fd00::/8,",
            [ip_network("10.0.0.0/8"), ip_network("fd00::/8")],
            ("10.0.0.1/8", "example.org", "10.0.0.0/33"),
            "X must be networks in CIDR form",
        ),
        (
            lambda env: env.credentials("X"),
            CREDENTIALS,
            {"registry.example:5000": "eva:p=a:ss", "other.example": "ci:word"},
            ("registry.example", "r.example=eva", "=eva:secret", "r=eva:", "r=eva:sécret"),
            "X must be of the form host=user:password",
        ),
        (
            lambda env: env.grants("X", of=["read", "releases:register"]),
            GRANTS,
            {"tpf:deploy": ["releases:register", "read"], "x=y": ["read"]},
            ("read", "=read", "deploy=", "deploy=write", "deploy:read"),
            "X must be of the form name=grant, separated by commas, with one of read",
        ),
        (
            lambda env: env.tenant_prefixes("X"),
            "production=, eu west=eu-,,été=x",
            {"production": "", "eu west": "eu-", "été": "x"},
            ("production", "=x", "a=b,a=c", "a=B", f"a={'x' * 63}", "a\u200b=b"),
            "X must be of the form name=prefix, separated by commas",
        ),
    ],
)
def test_lists_are_read_and_their_problems_reported_without_the_values(
    read: Callable[[Environment], Any], good: str, expected: Any, wrong: tuple[str, ...], says: str
) -> None:
    env = Environment({"X": good})
    assert read(env) == expected
    env.raise_problems()
    for value in ("", None):
        assert read(Environment({} if value is None else {"X": value})) == type(expected)()
    for text in wrong:
        env = Environment({"X": text})
        assert read(env) == type(expected)()
        with pytest.raises(ImproperlyConfigured, match=re.escape(says)) as caught:
            env.raise_problems()
        assert "secret" not in str(caught.value)
