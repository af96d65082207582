"""The tutorial, to the letter: in an empty home, with nothing but what its pages say, and in Chromium.

RENEW_TUTORIAL=1 stores new pictures.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from embedded.product import PROJECT
from tests.parts.browser.journeys.person import LOADED, Person, Way
from tests.parts.distributions import installing
from tests.parts.distributions.shell import Shell
from tests.parts.documents import tutorial
from tests.parts.documents.tutorial import Act, Change, File, Picture, Terminal
from tests.programs import output_of

DOCS = PROJECT / "docs"
MOST_WORDS, MOST_PICTURES, MOST_BYTES = 2_500, 6, 120_000
READS = re.compile(r" (list|groups|result|explain)\b")
"""Commands that only read. A person repeats them until the work behind them has ended."""
REPEATED_SECONDS = 60.0
SERVES = "coordinator dev"
WIDTH, HEIGHT = 1280, 800


class Reader:
    """A person who follows the pages with two terminals and a browser."""

    def __init__(self, root: Path, browser: Browser) -> None:
        self._root, self._browser = root, browser
        self._folder = root / "tutorial"
        path = [each for each in os.environ["PATH"].split(":") if not each.startswith(str(PROJECT))]
        self._environment = {"PATH": ":".join(path), "HOME": str(root / "home")}
        self._first = Shell(root / "durable-coordinator", self._environment)
        self._second: Shell | None = None
        self.database = root / "none"
        """Where PostgreSQL keeps its data. For root, this is not below the folder of the tutorial."""
        self._file = Path()
        self._printed = ""
        self._seen: dict[str, str] = {}
        self._people: dict[str, Person] = {}
        self._person = ""
        self._passwords: dict[str, str] = {}
        self._typed: dict[str, str] = {}
        self._address = ""

    def follow(self, part: tutorial.Part) -> None:
        match part:
            case Terminal():
                self._in_terminal(part)
            case File():
                self._file = self._folder / part.name
                self._file.write_text(part.text)
            case Change():
                text = self._file.read_text()
                assert text.count(part.old) == 1, part
                self._file.write_text(text.replace(part.old, part.new))
            case Act():
                self._act(part)
            case Picture():
                self._take(DOCS / part.path)

    def leaves(self) -> list[str]:
        return [problem for person in self._people.values() for problem in person.leaves()]

    def close(self) -> None:
        for shell in filter(None, (self._second, self._first)):
            shell.close()

    def _in_terminal(self, part: Terminal) -> None:
        if any(command.text == SERVES for command in part.commands):
            self._serve(part)
            return
        for command in part.commands:
            if command.text.startswith("kill "):
                assert self._second is not None
                self._second.interrupt()
            self._run(command)

    def _serve(self, part: Terminal) -> None:
        """Run the commands of the second terminal. The last one goes on until Ctrl-C."""
        if self._second is None:
            self._second = Shell(self._folder, self._environment)
        else:
            self._second.interrupt()
        *before, serves = part.commands
        for command in before:
            assert self._second.type(command.text) == ("", 0), command
        output = "".join(self._second.begin(serves.text, "source "))
        assert tutorial.matches(serves.shown, output), output
        self.database = (self._folder / ".coordinator/postgres").resolve()
        said = dict(line.split() for line in output.splitlines())
        self._address = said["address"].removesuffix("/admin/")
        self._passwords[said["user"]] = said["password"]

    def _run(self, command: tutorial.Command) -> None:
        text = re.sub(r"\b(QUESTION|EXECUTION)\b", lambda title: self._seen[title[0]], command.text)
        until = time.monotonic() + (REPEATED_SECONDS if READS.search(text) else 0)
        while True:
            output, status = self._first.type(text)
            if tutorial.matches(command.shown, output) and (status == 0) == ("error:" not in command.shown):
                break
            assert time.monotonic() < until, f"{text}\nended with {status} and printed:\n{output}"
            time.sleep(1)
        if text.startswith("sha256sum "):
            assert output.split()[0] in self._printed, f"{output} is not what ran:\n{self._printed}"
        self._printed = output
        header, *rows = output.splitlines() or [""]
        for title in ("QUESTION", "EXECUTION"):
            if title in header and rows:
                self._seen[title] = rows[0][header.index(title) :].split()[0]

    def _act(self, act: Act) -> None:
        if act.verb == "log in as":
            self._log_in(act.named)
            return
        person = self._people[self._person]
        match act.verb:
            case "choose":
                person.goes_to(act.named)
            case "open":
                person.opens(act.named)
            case "open the row of":
                person.opens_row(act.named)
            case "press":
                person.presses(act.named)
            case "tick":
                person.ticks(act.named)
            case "the page shows":
                person.sees(act.named)
            case "enter":
                person.fills(act.named, act.typed)
                self._typed[act.named] = act.typed
            case _:
                raise AssertionError(act)

    def _log_in(self, name: str) -> None:
        self._person = name
        if name in self._people:
            return
        person = self._people[name] = Person(self._browser, self._address, Way("mouse", "light", WIDTH))
        password = self._passwords.get(name) or self._typed["Password"]
        person.visits("/admin/").fills("Username", name).fills("Password", password)
        person.presses("Log in")
        person.page.wait_for_url("**/admin/")

    def _take(self, file: Path) -> None:
        page = self._people[self._person].page
        page.wait_for_function(LOADED)
        if os.environ.get("RENEW_TUTORIAL"):
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=file, clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}, animations="disabled")
        assert file.stat().st_size < MOST_BYTES, file


@pytest.fixture
def reader(tmp_path: Path, browser: Browser) -> Iterator[Reader]:
    """A person in a fresh clone of the repository. The cache of uv is there, which saves downloads."""
    installing.copy_checkout(tmp_path / "durable-coordinator")
    cache = output_of([installing.uv(), "cache", "dir"]).strip()
    (tmp_path / "home/.cache").mkdir(parents=True)
    (tmp_path / "home/.cache/uv").symlink_to(cache)
    reader = Reader(tmp_path, browser)
    yield reader
    reader.close()
    shutil.rmtree(reader.database, ignore_errors=True)


@pytest.mark.timeout(900)
def test_the_tutorial(reader: Reader) -> None:
    pages = tutorial.pages()
    for part in (each for page in pages for each in tutorial.parts(page)):
        reader.follow(part)
    assert reader.leaves() == []
    assert sum(len(page.split()) for page in pages) <= MOST_WORDS
    named = {each.path for page in pages for each in tutorial.parts(page) if isinstance(each, Picture)}
    assert {f"images/tutorial/{file.name}" for file in (DOCS / "images/tutorial").iterdir()} == named
    assert len(named) <= MOST_PICTURES
