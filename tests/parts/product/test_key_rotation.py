"""Keys are replaced with the steps of the runbook while people work and interactions are completed."""

import base64
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from embedded.product import Product
from tenancy.roles import Role
from tests.parts.product.conftest import Host, product_with_own_broker
from tests.receiving import Receiver
from tests.running import PASSWORD, RunningProduct, TenantInUse, eventually
from wire.resume_token import key_id

OLD = {"SECRET_KEY": "old-key-of-sessions-" * 3, "RESUME_TOKEN_SECRET": "old-secret-of-tokens-" * 3}
NEW = {"SECRET_KEY": "new-key-of-sessions-" * 3, "RESUME_TOKEN_SECRET": "new-secret-of-tokens-" * 3}
LONG_TIMEOUTS = {"WORKER_STALE_SECONDS": "60", "LEASE_SECONDS": "30"}
"""Long times, so that a slow restart does not cause a refused submission."""
ROUNDS = 2
"""The least number of rounds of traffic in each step, after its last restart."""


def accepting(keys: dict[str, str]) -> dict[str, str]:
    return {f"{name}_FALLBACKS": key for name, key in keys.items()}


STEPS = (OLD | accepting(NEW), NEW | accepting(OLD))
WITHOUT_FALLBACKS = NEW | dict.fromkeys(accepting(OLD), "")


class Person:
    """A browser with a session."""

    def __init__(self, username: str, web: Product) -> None:
        self.http = requests.Session()
        login = f"{web.url}/admin/login/"
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', self.http.get(login).text)
        assert token is not None
        form = {"username": username, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        response = self.http.post(login, data=form, headers={"Referer": login}, allow_redirects=False)
        assert response.status_code == 302, response.text

    def is_logged_in(self, web: Product) -> bool:
        return self.http.get(f"{web.url}/admin/", allow_redirects=False).status_code == 200


class Traffic(threading.Thread):
    """Traffic of people and webhook receivers, behind a load balancer that knows which web processes are up.

    Every second token is stored and used only in the next step, when its key is an old one.
    """

    def __init__(self, tenant: TenantInUse, receiver: Receiver, username: str, webs: list[Product]) -> None:
        super().__init__(daemon=True)
        self.up = webs
        self.round = threading.Lock()
        self.rounds = 0
        self.submitted: list[str] = []
        self.keys_used: list[str] = []
        self.unused_tokens: list[str] = []
        self.failure: BaseException | None = None
        self._tenant = tenant
        self._receiver = receiver
        self._username = username
        self._person = Person(username, webs[0])
        self._received_count = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            for number in itertools.count():
                if self._stopped.wait(0.5):
                    return
                with self.round:
                    self._run_round(number, self.up[number % len(self.up)], self.up[-1 - number % len(self.up)])
                    self.rounds += 1
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self._stopped.set()
        self.join(30)
        self.check()

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def wait_for_rounds(self, count: int) -> None:
        target = self.rounds + count

        def reached() -> bool:
            self.check()
            return self.rounds >= target

        eventually(reached, what="rounds of traffic")

    def complete(self, token: str, web: Product) -> requests.Response:
        return requests.post(f"{web.url}/api/v1/resume", json={"resumeToken": token, "response": {"text": "booked"}})

    def use_unused_tokens(self) -> None:
        with self.round:
            for token, web in zip(self.unused_tokens, itertools.cycle(self.up), strict=False):
                self._use(token, web)
            self.unused_tokens.clear()

    def _run_round(self, number: int, one: Product, other: Product) -> None:
        assert self._person.is_logged_in(one)
        assert Person(self._username, one).is_logged_in(other)
        body = {"pipelineId": "tests.booking", "input": {"number": number}, "idempotencyKey": f"k{number}"}
        url = f"{one.url}/api/v1/tenants/{self._tenant.tenant.slug}/executions"
        accepted = self._tenant.http.post(url, json=body)
        assert accepted.status_code == 202, accepted.text
        self.submitted.append(accepted.json()["executionId"])
        arrived = self._receiver.requests[self._received_count :]
        for received in arrived:
            self._received_count += 1
            if self._received_count % 2:
                self.unused_tokens.append(received.json["resumeToken"])
            else:
                self._use(received.json["resumeToken"], other)

    def _use(self, token: str, web: Product) -> None:
        response = self.complete(token, web)
        assert response.status_code == 200, response.text
        self.keys_used.append(key_of(token))


def key_of(token: str) -> str:
    payload = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["keyId"])


@contextmanager
def second_web(product: Product, folder: Path) -> Iterator[Product]:
    second = Product(folder, product.servers, web_processes=1)
    second.environment = product.environment
    try:
        second.start_web()
        second.wait_until_ready()
        yield second
    finally:
        second.stop()


def restart(product: Product, name: str, start: Callable[[], Any]) -> None:
    [child] = [child for child in product.children.started if child.name == name]
    child.stop()
    product.children.started.remove(child)
    start()


def deploy(settings: dict[str, str], webs: list[Product], traffic: Traffic) -> None:
    """Restart every process with these settings, one after the other."""
    product = webs[0]
    product.environment |= settings
    for web in webs:
        with traffic.round:
            traffic.up = [other for other in webs if other is not web]
        restart(web, "web", web.start_web)
        web.wait_until_ready()
        traffic.up = webs
        traffic.wait_for_rounds(1)
    restart(product, "clock", product.start_clock)
    restart(product, "control-worker", product.start_control_worker)
    traffic.wait_for_rounds(ROUNDS)


@pytest.mark.timeout(240)
def test_keys_are_rotated_without_interrupting_requests_and_completions(
    running: RunningProduct, receiver: Receiver, host: Host, name: str, tmp_path: Path
) -> None:
    with (
        product_with_own_broker(running, tmp_path / "own", OLD | LONG_TIMEOUTS) as (own, _),
        second_web(own.product, tmp_path / "second") as second,
    ):
        tenant = own.tenant(name)
        host(tenant, "booking")
        username = own.member(tenant.tenant, Role.VIEWER).username
        webs = [own.product, second]
        idle = Person(username, second)
        traffic = Traffic(tenant, receiver, username, webs)
        traffic.start()
        try:
            eventually(lambda: traffic.unused_tokens or traffic.failure, what="a token of the old key")
            for settings in STEPS:
                deploy(settings, webs, traffic)
                traffic.use_unused_tokens()
            eventually(lambda: key_id(NEW["RESUME_TOKEN_SECRET"]) in traffic.keys_used, what="a new token")
            old_token = next(
                received.json["resumeToken"]
                for received in receiver.requests
                if key_of(received.json["resumeToken"]) == key_id(OLD["RESUME_TOKEN_SECRET"])
            )
            assert traffic.complete(old_token, second).status_code == 200, "a repeated completion"
            deploy(WITHOUT_FALLBACKS, webs, traffic)
            traffic.stop()
            traffic.use_unused_tokens()

            assert {key_id(keys["RESUME_TOKEN_SECRET"]) for keys in (OLD, NEW)} == set(traffic.keys_used)
            assert traffic.complete(old_token, second).json()["code"] == "RESUME_TOKEN_INVALID"
            assert not idle.is_logged_in(second)
        finally:
            tenant.stop_workers()
            traffic.stop()
