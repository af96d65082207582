"""An author learns of all mistakes of a pipeline at once, and not of one with each build."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipelines import DefinitionError, Pipeline
from pipelines.authoring.compiler import compile_contract
from pipelines.cli import main
from tests.unit.pipelines.conftest import IMPORTS, Author

MANY = """
@dataclass
class Crate:
    weight: complex
    volume: complex

@pipeline.step(name=' ')
def blank(order: Order) -> Order: ...

@pipeline.step
def ship(order: set[int]) -> bytes: ...

@pipeline.step
def pack(crate: Crate) -> Order: ...

pipeline.awaits('Approve', request=Order, response=Order, timeout=timedelta(0))

@pipeline.step
async def bill(order: Order) -> Receipt: ...
"""


def test_all_mistakes_are_reported_at_once_in_their_order(author: Author) -> None:
    with pytest.raises(DefinitionError) as raised:
        author.pipeline(MANY)
    assert [(error.code, error.message.partition(" has ")[0]) for error in raised.value.errors] == [
        ("INVALID_STEP_NAME", "' ' is no step name; use 1 to 200 printable characters"),
        ("INVALID_TIMEOUT", 'await "Approve" waits for datetime.timedelta(0); give a positive timedelta of at most a '
         "hundred years, such as timedelta(days=1)"),
        ("UNSUPPORTED_TYPE", "step \"Ship\", parameter 'order'"),
        ("UNSUPPORTED_TYPE", 'step "Ship", its return value'),
        ("UNSUPPORTED_TYPE", "step \"Pack\", parameter 'crate': field 'weight' of authored.Crate"),
        ("UNSUPPORTED_TYPE", "step \"Pack\", parameter 'crate': field 'volume' of authored.Crate"),
        ("ASYNC_STEP", 'step "Bill" is async; steps are ordinary functions, use def'),
    ]  # fmt: skip
    assert str(raised.value).splitlines() == [str(error) for error in raised.value.errors]


def test_every_pair_of_adjacent_steps_that_does_not_fit_is_reported(author: Author) -> None:
    body = """
    @pipeline.step
    def ship(order: Order) -> Receipt: ...

    @pipeline.step
    def bill(order: Order) -> Receipt: ...

    @pipeline.step
    def unreadable(order: bytes) -> Receipt: ...

    pipeline.timer('Cool off', timedelta(1))

    @pipeline.step
    def count(number: int) -> int: ...

    @pipeline.step
    def close(order: Order) -> Receipt: ...
    """
    with pytest.raises(DefinitionError) as raised:
        compile_contract(author.pipeline(body))
    assert [(error.code, error.message.split('"')[1]) for error in raised.value.errors] == [
        ("UNSUPPORTED_TYPE", "Unreadable"),
        ("TYPES_DO_NOT_CHAIN", "Bill"),
        ("TYPES_DO_NOT_CHAIN", "Close"),
    ]


def test_build_prints_every_mistake(author: Author, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    author.write("authored.py", IMPORTS + MANY)
    author.forget()
    assert main(["build", "authored:pipeline", "--out", str(tmp_path / "dist")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["error", code] for code in ("INVALID_STEP_NAME", "INVALID_TIMEOUT", *["UNSUPPORTED_TYPE"] * 4, "ASYNC_STEP")
    ]
    assert not (tmp_path / "dist").exists()


def test_outside_of_a_build_a_mistake_is_raised_where_it_is_made() -> None:
    pipeline = Pipeline("org.acme")
    with pytest.raises(DefinitionError, match="INVALID_TIMEOUT"):
        pipeline.timer("Cool off", timedelta(0), of=int)
    assert pipeline.mistakes == ()
