import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command
from prometheus_client.parser import text_string_to_metric_families

from embedded.children import free_port
from foundation.telemetry.metrics import Counter, Exposition
from foundation.telemetry.shared_files import VARIABLE, share
from tests.cases import cases
from wire.probes import LONGEST_SILENCE, Endpoint, Liveness, bears

TOKEN = "a-token-of-a-scraper"


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture(params=["", TOKEN])
def served(request: pytest.FixtureRequest, now: list[float]) -> Iterator[tuple[str, str]]:
    port = free_port()
    server = Endpoint("127.0.0.1", port, Exposition(dict).text, Liveness(lambda: now[0]), token=request.param)
    server.start()
    yield f"http://127.0.0.1:{port}", request.param
    server.shutdown()
    server.server_close()


def test_metrics_need_the_token_if_there_is_one(served: tuple[str, str]) -> None:
    url, token = served
    anonymous = requests.get(f"{url}/metrics", timeout=10)
    assert anonymous.status_code == (401 if token else 200)
    known = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert known.status_code == 200
    assert known.headers["Content-Type"].startswith("text/plain; version=")
    assert requests.get(f"{url}/admin", timeout=10).status_code == 404


def test_a_probe_needs_no_token(served: tuple[str, str], now: list[float], settings: Any) -> None:
    url, _ = served
    settings.METRICS_PORT = int(url.rpartition(":")[2])
    call_command("probe", "control")
    alive = requests.get(f"{url}/live", timeout=10)
    assert (alive.status_code, alive.text) == (200, "UP\n")
    now[0] = LONGEST_SILENCE + 1
    hanging = requests.get(f"{url}/live", timeout=10)
    assert (hanging.status_code, hanging.text) == (503, "The main loop has hung for 61 s.\n")
    with pytest.raises(CommandError, match=f"{url}/live responded with 503: The main loop has hung for 61 s."):
        call_command("probe", "control")
    settings.METRICS_PORT = free_port()
    with pytest.raises(CommandError, match=r"does not respond: .*refused"):
        call_command("probe", "clock")


@cases("header", ["", TOKEN, f"Bearer {TOKEN}x", "Bearer é"])
def test_only_the_bearer_of_the_exact_token_is_admitted(header: str) -> None:
    assert bears(f"bearer  {TOKEN} ", TOKEN)
    assert not bears(header, TOKEN)


def test_a_loop_is_alive_while_it_beats_or_waits_for_another_server() -> None:
    now = [0.0]
    liveness = Liveness(lambda: now[0])
    now[0] = LONGEST_SILENCE
    assert liveness.is_alive()
    now[0] = LONGEST_SILENCE + 1
    assert (liveness.is_alive(), liveness.silent_seconds) == (False, LONGEST_SILENCE + 1)
    liveness.beat()
    assert liveness.is_alive()
    with liveness.waiting():
        now[0] += 10 * LONGEST_SILENCE
        assert (liveness.is_alive(), liveness.silent_seconds) == (True, 0)
    assert liveness.silent_seconds == 0, "the silence counts from the end of the wait"
    now[0] += LONGEST_SILENCE + 1
    assert not liveness.is_alive()


def samples(exposition: Exposition, prefix: str) -> dict[str, float]:
    families = text_string_to_metric_families(exposition.text().decode())
    return {
        " ".join([sample.name, *(sample.labels[name] for name in sorted(sample.labels, reverse=True))]): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith(prefix) and not sample.name.endswith("_created")
    }


def test_beyond_the_bound_labels_that_name_releases_become_other(settings: Any) -> None:
    settings.METRICS_MAX_SERIES = 2
    counter = Counter("example0_runs_total", "Runs.", ("tenant", "pipeline", "outcome"))
    for number in range(5):
        counter.add("acme", f"p{number}", "GOOD")
    counter.add("acme", "p0", "GOOD", amount=10)
    counter.add("acme", "p9", "BAD")
    assert samples(Exposition(dict), "example0_") == {
        "example0_runs_total acme p0 GOOD": 11,
        "example0_runs_total acme p1 GOOD": 1,
        "example0_runs_total other other GOOD": 3,
        "example0_runs_total other other BAD": 1,
    }


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the environment after the test, so that later imports count alone."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.mark.usefixtures("variable")
def test_each_parent_has_a_folder_that_only_its_user_can_read_and_no_link(tmp_path: Path) -> None:
    place = tmp_path / "metrics"
    share(place, os.getpid())
    private = Path(os.environ[VARIABLE])
    assert private.parent == place
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (place, private)} == {0o700}
    share(place, os.getpid())
    assert Path(os.environ[VARIABLE]) == private
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        share(place, os.getpid())
