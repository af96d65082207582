"""Executions per second, from the first request to the last commit, against the peers' tasks and workflows."""

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.celery_peer import CeleryPeer
from benchmarks.dbos_peer import DbosPeer
from benchmarks.load import NotOffered
from benchmarks.peer_environment import PeerMissing, PeerRound
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.restate_peer import RestatePeer
from benchmarks.running_product import TENANT, THREE_CHECKPOINTED, THREE_STEPS, SubmissionMode

# Many clients, each with one connection and one pending request.
ONE_BY_ONE = SubmissionMode(connections=48)
# Few clients that send batches of the largest size.
BATCH = SubmissionMode(connections=4, batch=1000)
STEPS = 3
CELERY = "Celery no-op"
Rate = Callable[[], float]


def calibrated(
    product: ProductUnderTest, module: str, seconds: float, mode: SubmissionMode, tenant: str = TENANT
) -> int:
    """Return the number of executions that take `seconds`. Two rounds measure it and also warm up the product."""
    least = mode.connections * (mode.batch or 4)
    rough = product.round(module, least, mode, tenant=tenant)
    better = product.round(module, max(least, int(rough.rate * 2)), mode, tenant=tenant)
    return max(least, int(better.rate * seconds))


def product_rate(
    report: Report,
    name: str,
    product: ProductUnderTest,
    module: str,
    plan: Plan,
    mode: SubmissionMode,
    *,
    tenant: str = TENANT,
    count: int | None = None,
) -> Rate:
    """Return a function that runs a round of the product and returns its rate. Raises `NotOffered`.

    A round has `count` executions, by default as many as take the seconds of the plan.
    """
    number = count or calibrated(product, module, plan.seconds, mode, tenant)

    def measured() -> float:
        measured_round = product.round(module, number, mode, tenant=tenant)
        report.round(name, measured_round)
        return measured_round.rate

    return measured


def interleaved(plan: Plan, ours: Rate, peers: dict[str, Rate]) -> tuple[list[float], dict[str, list[float]]]:
    """Measure in the order A, B, C, A, B, C…, so that other load on the machine affects all of them equally."""
    our_rates: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(plan.rounds):
        our_rates.append(ours())
        for name, rate in peers.items():
            theirs[name].append(rate())
    return our_rates, theirs


def peer_rate(report: Report, name: str, measured: Callable[[], PeerRound], factor: int = 1) -> Rate:
    """Return a function that runs a round of a peer and returns its rate multiplied by `factor`."""

    def rate() -> float:
        measured_round = measured()
        report.peer_round(name, measured_round)
        return measured_round.rate * factor

    return rate


def one_by_one(report: Report, plan: Plan) -> None:
    """Measure 1."""
    _against_celery(report, plan, "three steps, submitted one by one", 1.5, ONE_BY_ONE)


def batch(report: Report, plan: Plan) -> None:
    """Measure 2."""
    _against_celery(report, plan, "three steps, submitted in batches", 4.5, BATCH)


def _against_celery(report: Report, plan: Plan, name: str, bar: float, mode: SubmissionMode) -> None:
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        peers: dict[str, Rate] = {}
        try:
            ours = product_rate(report, name, product, THREE_STEPS, plan, mode)
        except NotOffered as error:
            return report.skip(name, str(error))
        if plan.peers:
            celery = CeleryPeer(product)
            peers[CELERY] = peer_rate(report, CELERY, lambda: celery.round(plan.seconds))
        our_rates, theirs = interleaved(plan, ours, peers)
        report.add(Measure(f"{name} : {CELERY}", our_rates, theirs.get(CELERY, []), "executions/s", bar))
        report.compare_cpu(name, name, CELERY)
    return None


def checkpointed(report: Report, plan: Plan) -> None:
    """Measures 3 and 4."""
    name = "checkpointed steps, submitted in batches"
    with ExitStack() as up:
        product = up.enter_context(ProductUnderTest())
        report.say("The product is up")
        product.host(THREE_CHECKPOINTED)
        try:
            executions = product_rate(report, name, product, THREE_CHECKPOINTED, plan, BATCH)
        except NotOffered as error:
            report.skip(name, f"{error}; submitted one by one instead")
            name = "checkpointed steps, submitted one by one"
            executions = product_rate(report, name, product, THREE_CHECKPOINTED, plan, ONE_BY_ONE)
        peers = _durable_peers(report, plan, up, product) if plan.peers else {}
        our_rates, theirs = interleaved(plan, lambda: executions() * STEPS, peers)
        # The peers store each step before the next begins. The note shows how many checkpoints ours stored.
        note = f"ours stored {report.checkpoints_stored(name):.2f} checkpoints per execution, the peers {STEPS}"
        for peer, bar in {"DBOS": 10.0, "Restate": 1.5}.items():
            report.add(Measure(f"{name} : {peer}", our_rates, theirs.get(peer, []), "steps/s", bar, note=note))
            report.compare_cpu(name, name, peer)


def _durable_peers(report: Report, plan: Plan, up: ExitStack, product: ProductUnderTest) -> dict[str, Rate]:
    peers: dict[str, Rate] = {}
    try:
        dbos = DbosPeer(product)
        peers["DBOS"] = peer_rate(report, "DBOS", lambda: dbos.round(plan.seconds), STEPS)
    except PeerMissing as error:
        report.skip("DBOS", str(error))
    try:
        restate = up.enter_context(RestatePeer(product.folder))
        peers["Restate"] = peer_rate(report, "Restate", lambda: restate.round(plan.seconds), STEPS)
    except PeerMissing as error:
        report.skip("Restate", str(error))
    return peers
