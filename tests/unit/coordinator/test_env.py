"""The typed readers of the environment that awaits brought."""

from ipaddress import ip_network

import pytest
from django.core.exceptions import ImproperlyConfigured

from coordinator.env import Environment


def test_a_secret_may_be_absent_where_it_is_not_required_but_never_short() -> None:
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


def test_networks() -> None:
    assert Environment({}).networks("NETS") == []
    env = Environment({"NETS": "10.0.0.0/8, fd00::/8,"})
    assert env.networks("NETS") == [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    env.raise_problems()


@pytest.mark.parametrize("value", ["10.0.0.1/8", "example.org", "10.0.0.0/33"])
def test_what_is_no_network_is_named_at_boot(value: str) -> None:
    env = Environment({"NETS": value})
    env.networks("NETS")
    with pytest.raises(ImproperlyConfigured, match="NETS must be networks in CIDR form"):
        env.raise_problems()
