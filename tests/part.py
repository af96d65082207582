import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    proves: str
    command: Sequence[str]
    """What to run, as `python -m`."""
    groups: Sequence[str] = ()
    """The groups that `bootstrap` installs before, besides `test`."""
    tools: Sequence[str] = ()
    """The scripts of `.ci` that install further tools."""
    root: str = ""
    """Why the part needs root on Debian. Empty: any user may run it."""
    environment: Mapping[str, str] = field(default_factory=dict)


def _tests(*folders: str) -> Sequence[str]:
    return ("pytest", "-n", "2", "--durations=10", *(f"tests/{folder}" for folder in folders))


PARTS: Mapping[str, Part] = {
    "browser": Part(
        "every page and journey in Chromium, with axe and the keyboard",
        _tests("parts/browser"),
        groups=["browser"],
        tools=["install-chromium"],
    ),
    "clients": Part(
        "clients that are generated from the API's document",
        _tests("parts/clients"),
        groups=["clients"],
        tools=["install-typescript"],
    ),
    "deploy": Part(
        "images, charts, units, proxies and alert rules, with the tools that read them",
        _tests("parts/deploy"),
        groups=["deploy"],
        tools=["install-nginx", "install-promtool", "install-deploy-tools"],
        root="it builds images and runs them with a read-only root, and installs nginx",
    ),
    "product": Part(
        "the running product in each way in which it is used or disturbed",
        _tests("parts/product", "parts/web"),
        tools=["install-pgbouncer", "install-registry"],
    ),
    "recovery": Part(
        "killed processes and servers under load, backups, upgrades and the distributions",
        _tests("parts/recovery", "parts/upgrade", "parts/distributions"),
        groups=["check", "upgrade"],
    ),
    "chance": Part(
        "races and generated values, often repeated, and the stores of others",
        _tests("parts/generated", "parts/stores", "concurrency", "executions", "governance", "unit", "api"),
        groups=["schemathesis", "stores"],
        tools=["install-azurite"],
        environment={"TEST_THOROUGH": "1"},
    ),
    "mutants": Part(
        "small faults in the product, which the tests must notice",
        ("tests.mutants",),
        groups=["stores"],
        tools=["install-azurite"],
    ),
    "documents": Part(
        "the site of the documents, what its search finds, and the tutorial to the letter",
        _tests("parts/documents"),
        groups=["docs", "browser"],
        tools=["install-chromium"],
    ),
}


def part_of_the_day(day: datetime.date) -> str:
    """Return the part whose turn it is. With a run each day, all have their turn in as many days as there are parts."""
    return list(PARTS)[day.toordinal() % len(PARTS)]
