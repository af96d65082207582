"""Every mistake of an author has a code, and a message that says where it is and what to do."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from executions.awaits.opening import why_unanswerable
from pipelines import DefinitionError, Pipeline
from pipelines.authoring.compiler import compile_contract
from pipelines.authoring.plan import plan
from pipelines.worker.outcomes import outcome_of
from pipelines.worker.runner import Suspended
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
from tests.unit.pipelines.worker.test_host import command

REQUEST = "request=Order, response=Order, timeout=timedelta(1)"
MISTAKES = [
    # code, what the message must say, body
    ("EMPTY_PIPELINE", "no steps", ""),
    ("NO_TYPE_HINTS", "\"Ship\".*parameter 'order'", "@pipeline.step\ndef ship(order) -> Receipt: ..."),
    ("NO_TYPE_HINTS", '"Ship".*its return value', "@pipeline.step\ndef ship(order: Order): ..."),
    ("UNRESOLVED_HINT", '"Ship".*Ordr', "@pipeline.step\ndef ship(order: 'Ordr') -> Receipt: ..."),
    (
        "UNRESOLVED_HINT",
        "Crate.*Missing",
        """
        @dataclass
        class Crate:
            content: "Missing"

        @pipeline.step
        def ship(order: Crate) -> Receipt: ...
        """,
    ),
    (
        "UNSUPPORTED_TYPE",
        '"Ship".*complex.*use a dataclass',
        "@pipeline.step\ndef ship(order: complex) -> Receipt: ...",
    ),
    ("UNSUPPORTED_TYPE", "set", "@pipeline.step\ndef ship(order: set[int]) -> Receipt: ..."),
    ("UNSUPPORTED_TYPE", "bytes", "@pipeline.step\ndef ship(order: bytes) -> Receipt: ..."),
    ("UNSUPPORTED_TYPE", "None", "@pipeline.step\ndef ship(order: Order) -> Receipt | None: ..."),
    ("UNSUPPORTED_TYPE", "None", "@pipeline.step\ndef ship(order: Order) -> None: ..."),
    ("UNSUPPORTED_TYPE", "int | str", "@pipeline.step\ndef ship(order: int | str) -> Receipt: ..."),
    ("UNSUPPORTED_TYPE", "named fields", "@pipeline.step\ndef ship(order: dict[str, int]) -> Receipt: ..."),
    ("UNSUPPORTED_TYPE", "named fields", "@pipeline.step\ndef ship(order: typing.Any) -> Receipt: ..."),
    ("UNSUPPORTED_TYPE", "list without an item type", "@pipeline.step\ndef ship(order: list) -> Receipt: ..."),
    ("UNSUPPORTED_TYPE", "inner list", "@pipeline.step\ndef ship(order: list[list[int]]) -> Receipt: ..."),
    ("UNSUPPORTED_TYPE", "tuple", "@pipeline.step\ndef ship(order: tuple[int, str]) -> Receipt: ..."),
    (
        "UNSUPPORTED_TYPE",
        "authored.Bag",
        """
        class Bag(typing.TypedDict):
            a: int

        @pipeline.step
        def ship(order: Bag) -> Receipt: ...
        """,
    ),
    ("UNSUPPORTED_TYPE", "Literal", "@pipeline.step\ndef ship(order: typing.Literal['a']) -> Receipt: ..."),
    (
        "UNSUPPORTED_TYPE",
        "field 'weight' of authored.Crate",
        "@dataclass\nclass Crate:\n    weight: complex\n\n@pipeline.step\ndef ship(crate: Crate) -> Receipt: ...",
    ),
    (
        "UNSUPPORTED_TYPE",
        "field 'tags'.*neither a list nor None",
        """
        @dataclass
        class Crate:
            tags: list[int | None]

        @pipeline.step
        def ship(crate: Crate) -> Receipt: ...
        """,
    ),
    (
        "UNSUPPORTED_TYPE",
        "field 'tags'.*keys of a JSON object are str",
        "@dataclass\nclass Crate:\n    tags: dict[int, str]\n\n@pipeline.step\ndef ship(crate: Crate) -> Receipt: ...",
    ),
    (
        "UNSUPPORTED_TYPE",
        "field 'id'.*init=False",
        """
        @dataclass
        class Crate:
            id: int = field(init=False, default=1)

        @pipeline.step
        def ship(crate: Crate) -> Receipt: ...
        """,
    ),
    (
        "UNSUPPORTED_TYPE",
        "same alias",
        "class Crate(BaseModel):\n    id: int = Field(validation_alias='a', serialization_alias='b')\n\n"
        "@pipeline.step\ndef ship(crate: Crate) -> Receipt: ...",
    ),
    (
        "UNSUPPORTED_TYPE",
        "values are str",
        "class Size(enum.IntEnum):\n    S = 1\n\n@pipeline.step\ndef ship(size: Size) -> Receipt: ...",
    ),
    (
        "TYPE_NOT_IMPORTABLE",
        "top of a module",
        """
        def make():
            @dataclass
            class Crate:
                id: int
            return Crate
        Hidden = make()

        @pipeline.step
        def ship(crate: Hidden) -> Receipt: ...
        """,
    ),
    (
        "TYPE_NOT_IMPORTABLE",
        "generic model needs a named subclass",
        """
        T = typing.TypeVar("T")
        class Page(BaseModel, typing.Generic[T]):
            item: T

        @pipeline.step
        def ship(page: Page[int]) -> Receipt: ...
        """,
    ),
    ("INVALID_SIGNATURE", '"Ship".*takes one input', "@pipeline.step\ndef ship() -> Receipt: ..."),
    ("INVALID_SIGNATURE", "takes one input", "@pipeline.step\ndef ship(*orders: Order) -> Receipt: ..."),
    ("INVALID_SIGNATURE", "takes one input", "@pipeline.step\ndef ship(a: Order, b: Order, c: Order) -> Receipt: ..."),
    (
        "INVALID_SIGNATURE",
        "second parameter 'speed'",
        "@pipeline.step\ndef ship(order: Order, speed: int) -> Receipt: ...",
    ),
    ("ASYNC_STEP", "use def", "@pipeline.step\nasync def ship(order: Order) -> Receipt: ..."),
    ("ASYNC_STEP", "use def", "@pipeline.step\nasync def ship(order: Order) -> Iterator[Receipt]:\n    yield 1"),
    (
        "CARDINALITY_MISMATCH",
        '"Ship" says cardinality ONE_TO_MANY, but its hints say ONE_TO_ONE',
        "@pipeline.step(cardinality='ONE_TO_MANY')\ndef ship(order: Order) -> Receipt: ...",
    ),
    (
        "CARDINALITY_MISMATCH",
        "use Iterator",
        "@pipeline.step\ndef ship(order: Order) -> Receipt:\n    yield Receipt(1)",
    ),
    (
        "UNKNOWN_CARDINALITY",
        '"Ship".*SOME',
        "@pipeline.step(cardinality='SOME')\ndef ship(order: Order) -> Receipt: ...",
    ),
    (
        "DUPLICATE_STEP_NAME",
        '"Ship"',
        "@pipeline.step\ndef ship(order: Order) -> Order: ...\n@pipeline.step\ndef ship(order: Order) -> Order: ...",
    ),
    (
        "DUPLICATE_STEP_NAME",
        "capitals do not count",
        """
        @pipeline.step(name='Ship It')
        def a(order: Order) -> Order: ...

        @pipeline.step
        def ship_it(order: Order) -> Order: ...
        """,
    ),
    ("INVALID_STEP_NAME", "printable", "@pipeline.step(name=' ')\ndef ship(order: Order) -> Receipt: ..."),
    ("INVALID_STEP_NAME", "printable", "@pipeline.step(name='a\\nb')\ndef ship(order: Order) -> Receipt: ..."),
    ("STEP_NOT_IMPORTABLE", "is a lambda", "pipeline.step(name='Ship')(lambda order: order)"),
    (
        "STEP_NOT_IMPORTABLE",
        "defined inside another function",
        "def make():\n    @pipeline.step\n    def ship(order: Order) -> Receipt: ...\nmake()",
    ),
    (
        "STEP_NOT_IMPORTABLE",
        "outermost decorator",
        "def shout(f):\n    return functools.wraps(f)(lambda order: f(order))\n\n"
        "@shout\n@pipeline.step\ndef ship(order: Order) -> Receipt: ...",
    ),
    (
        "STEP_NOT_IMPORTABLE",
        "only once",
        """
        @pipeline.step(name='One')
        def ship(order: Order) -> Order: ...

        @pipeline.step(name='Two')
        def ship(order: Order) -> Order: ...
        """,
    ),
    ("NOT_A_FUNCTION", "not a function", "pipeline.step(Order)"),
    (
        "TYPES_DO_NOT_CHAIN",
        '"Bill" takes authored.Order, but "Ship" before it gives authored.Receipt',
        """
        @pipeline.step
        def ship(order: Order) -> Receipt: ...

        @pipeline.step
        def bill(order: Order) -> Receipt: ...
        """,
    ),
    (
        "TYPES_DO_NOT_CHAIN",
        '"Count" takes integer, but "Ship" before it gives authored.Receipt',
        """
        @pipeline.step
        def ship(order: Order) -> list[Receipt]: ...

        @pipeline.step
        def count(numbers: list[int]) -> int: ...
        """,
    ),
    (
        "TYPES_DO_NOT_CHAIN",
        '"Approve" takes authored.Order',
        "@pipeline.step\ndef ship(order: Order) -> Receipt: ...\n"
        "pipeline.awaits('Approve', request=Order, response=Order, timeout=timedelta(days=1))",
    ),
    (
        "AWAIT_CARDINALITY",
        '"Approve" sends one request per item',
        "@pipeline.step\ndef ship(order: Order) -> list[Receipt]: ...\n"
        "pipeline.awaits('Approve', request=Receipt, response=list[Order], timeout=timedelta(days=1))",
    ),
    (
        "INVALID_TIMEOUT",
        '"Approve".*positive',
        "pipeline.awaits('Approve', request=Order, response=Order, timeout=timedelta(0))",
    ),
    (
        "UNKNOWN_TRANSPORT",
        '"Approve".*carrier-pigeon',
        "pipeline.awaits('Approve', request=Order, response=Order, timeout=timedelta(1), transport='carrier-pigeon')",
    ),
    (
        "UNKNOWN_TRANSPORT",
        '"Cool off".*timer',
        "pipeline.awaits('Cool off', request=Order, response=Order, timeout=timedelta(1), transport='timer')",
    ),
    *(
        (
            "INVALID_URL",
            says,
            "pipeline.awaits('Book', request=Order, response=Order, timeout=timedelta(1), " + members + ")",
        )
        for says, members in (
            ('"Book" has no url', "transport='webhook'"),
            ("has a url, which interaction-api does not take", "url='https://erp.example/'"),
            ("ftp://erp.example/", "transport='webhook', url='ftp://erp.example/'"),
            ("https:///hook", "transport='webhook', url='https:///hook'"),
            ("eva@erp", "transport='webhook', url='https://eva@erp.example/'"),
            ("7", "transport='webhook', url=7"),
        )
    ),
    *(
        ("INVALID_URL", "has the url", f"pipeline.awaits('Book', {REQUEST}, transport='webhook', url={url})")
        for url in ("'https://erp.example/\\0'", "'https://erp.example/' + 'a' * 2_000")
    ),
    *(
        ("INVALID_RECIPIENT", f'"Approve" has a {says}', f"pipeline.awaits('Approve', {REQUEST}, {member})")
        for says, member in (
            ("assignee of 201 characters", "assignee='a' * 201"),
            ("group of 201 characters", "group='a' * 201"),
            ("group of 0 characters", "group=''"),
            ("group of 1 characters", "group='\\ud800'"),
            ("assignee of 1 characters", "assignee='\\0'"),
            ("assignee of type int", "assignee=7"),
        )
    ),
    ("INVALID_STEP_NAME", "shorten it", "@pipeline.step(name='İ' * 200)\ndef ship(order: Order) -> Receipt: ..."),
    (
        "UNSUPPORTED_TYPE",
        "more than 500 characters",
        "X = dataclass(type('x' * 500, (), {'__annotations__': {'n': int}, '__module__': __name__}))\n"
        "globals()['x' * 500] = X\n@pipeline.step\ndef ship(order: Order) -> X: ...",
    ),
    ("INVALID_TIMEOUT", '"Cool off".*positive', "pipeline.timer('Cool off', timedelta(0), of=Order)"),
    ("INVALID_TIMEOUT", "hundred years", "pipeline.timer('Cool off', timedelta(days=40_000), of=Order)"),
    ("NO_TYPE_HINTS", 'timer "Cool off".*of=Order', "pipeline.timer('Cool off', timedelta(1))"),
    (
        "TYPES_DO_NOT_CHAIN",
        '"Cool off" takes authored.Receipt',
        "@pipeline.step\ndef check(order: Order) -> Order: ...\npipeline.timer('Cool off', timedelta(1), of=Receipt)",
    ),
]


@cases(("code", "says", "body"), MISTAKES)
def test_a_mistake_has_a_code_its_place_and_advice(author: Author, code: str, says: str, body: str) -> None:
    with pytest.raises(DefinitionError, match=f"(?s)^{code}: .*({says})") as raised:
        compile_contract(author.pipeline(body))
    assert raised.value.code == code


@cases("pipeline_id", ["", " ", "a/b", "ünit", "-a", "a" * 201, None])
def test_a_pipeline_id_must_be_usable_everywhere(pipeline_id: Any) -> None:
    with pytest.raises(DefinitionError, match="INVALID_PIPELINE_ID"):
        Pipeline(pipeline_id)


def test_packages_must_not_be_a_text() -> None:
    with pytest.raises(DefinitionError, match=r"INVALID_PACKAGES: .*\('shared',\)"):
        Pipeline("org.acme", packages="shared")


def test_a_timeout_must_be_a_timedelta() -> None:
    seconds: Any = 60
    with pytest.raises(DefinitionError, match="INVALID_TIMEOUT"):
        Pipeline("org.acme").awaits("Approve", request=int, response=int, timeout=seconds)


def test_a_pipeline_in_main_cannot_be_compiled() -> None:
    pipeline = Pipeline("org.acme", module="__main__")
    pipeline.awaits("Approve", request=int, response=int, timeout=timedelta(days=1))
    with pytest.raises(DefinitionError, match=r"STEP_NOT_IMPORTABLE: .*MODULE:NAME"):
        compile_contract(pipeline)


@cases(
    ("code", "says", "reference"),
    [
        ("INVALID_REFERENCE", "MODULE:NAME", "authored"),
        ("INVALID_REFERENCE", "MODULE:NAME", ":pipeline"),
        ("INVALID_REFERENCE", "MODULE:NAME", "authored.py:pipeline"),
        ("INVALID_REFERENCE", "MODULE:NAME", "authored:pipeline()"),
        ("INVALID_REFERENCE", "MODULE:NAME", "./authored:pipeline"),
        ("MODULE_NOT_FOUND", "no module nowhere", "nowhere:pipeline"),
        ("MODULE_NOT_FOUND", "no module authored.inner", "authored.inner:pipeline"),
        ("MODULE_FAILED", "ZeroDivisionError", "broken:pipeline"),
        ("MODULE_FAILED", "SystemExit", "leaving:pipeline"),
        ("MODULE_FAILED", "SyntaxError", "garbled:pipeline"),
        ("MODULE_FAILED", "no_such_dependency", "needy:pipeline"),
        ("NAME_NOT_FOUND", "defines the pipelines pipeline", "authored:pipelin"),
        (
            "NOT_A_PIPELINE",
            "authored:Order is a type, not a Pipeline; it defines the pipelines pipeline",
            "authored:Order",
        ),
        ("DUPLICATE_STEP_NAME", "Ship", "twice:pipeline"),
    ],
)
def test_an_invalid_reference_is_refused(author: Author, code: str, says: str, reference: str) -> None:
    author.pipeline("")
    author.write("broken.py", "1 / 0")
    author.write("leaving.py", "raise SystemExit(3)")
    author.write("garbled.py", "def (")
    author.write("needy.py", "import no_such_dependency")
    author.write(
        "twice.py",
        """
        from pipelines import Pipeline
        pipeline = Pipeline('p')

        @pipeline.step
        def ship(a: int) -> int: ...
        pipeline.step(ship)
        """,
    )
    with pytest.raises(DefinitionError, match=f"^{code}: .*{says}"):
        author.load(reference)


texts = st.text(max_size=400) | st.text("ßİŉ \0\ud800aA", min_size=90, max_size=210)


@given(name=texts, assignee=st.none() | texts, group=st.none() | texts, seconds=st.floats(0, 4e9))
@example(name="x", assignee="a" * 200, group="a" * 200, seconds=1e-6)
def test_an_accepted_await_fits_the_message(name: str, assignee: str | None, group: str | None, seconds: float) -> None:
    """The definition of a pipeline rejects every value that exceeds a bound of the message."""
    pipeline = Pipeline("org.acme", module="acme")
    try:
        timeout = timedelta(seconds=seconds)
        pipeline.awaits(name, request=int, response=int, timeout=timeout, assignee=assignee, group=group)
    except (DefinitionError, OverflowError):
        return
    [step] = plan(pipeline).steps
    suspended = Suspended(0, step, [1], itemized=False)
    outcome = outcome_of(command(), suspended, steps=1)
    assert outcome.suspension is not None
    assert why_unanswerable(outcome.suspension) is None
