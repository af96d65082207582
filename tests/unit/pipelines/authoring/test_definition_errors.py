"""Every mistake of an author has a code, its place, and advice. A build reports all mistakes at once."""

from typing import Any

import pytest

from pipelines import DefinitionError, Pipeline
from pipelines.authoring.compiler import compile_contract
from tests.cases import cases
from tests.unit.pipelines.conftest import Author


def step(takes: str = "order: Order", gives: str = "Receipt", name: str = "ship", options: str = "") -> str:
    return f"@pipeline.step{options}\ndef {name}({takes}) -> {gives}: ...\n"


def awaits(more: str = "", response: str = "Order", timeout: str = "timedelta(1)", request: str = "Order") -> str:
    return f"pipeline.awaits('Approve', request={request}, response={response}, timeout={timeout}{more})\n"


def crate(field: str) -> str:
    return f"@dataclass\nclass Crate:\n    {field}\n\n" + step("crate: Crate")


HIDDEN = "def make():\n    @dataclass\n    class Crate:\n        id: int\n    return Crate\nHidden = make()\n"
GENERIC = 'T = typing.TypeVar("T")\nclass Page(BaseModel, typing.Generic[T]):\n    item: T\n'
ALIASES = "class Crate(BaseModel):\n    id: int = Field(validation_alias='a', serialization_alias='b')\n\n"
MISTAKES = [
    # code, what the message must say, body
    ("EMPTY_PIPELINE", "no steps", ""),
    ("NO_TYPE_HINTS", "\"Ship\".*parameter 'order'", step("order")),
    ("UNRESOLVED_HINT", "Crate.*Missing", crate('content: "Missing"')),
    ("UNSUPPORTED_TYPE", '"Ship".*complex.*use a dataclass', step("order: complex")),
    ("UNSUPPORTED_TYPE", "named fields", step("order: dict[str, int]")),
    ("UNSUPPORTED_TYPE", "field 'weight' of authored.Crate", crate("weight: complex")),
    ("UNSUPPORTED_TYPE", "neither a list nor None", crate("tags: list[int | None]")),
    ("UNSUPPORTED_TYPE", "keys of a JSON object are str", crate("tags: dict[int, str]")),
    ("UNSUPPORTED_TYPE", "init=False", crate("id: int = field(init=False, default=1)")),
    ("UNSUPPORTED_TYPE", "same alias", ALIASES + step("crate: Crate")),
    ("UNSUPPORTED_TYPE", "values are str", "class Size(enum.IntEnum):\n    S = 1\n\n" + step("size: Size")),
    ("TYPE_NOT_IMPORTABLE", "top of a module", HIDDEN + step("crate: Hidden")),
    ("TYPE_NOT_IMPORTABLE", "generic model needs a named subclass", GENERIC + step("page: Page[int]")),
    ("INVALID_SIGNATURE", '"Ship".*takes one input', step("")),
    ("INVALID_SIGNATURE", "second parameter 'speed'", step("order: Order, speed: int")),
    ("ASYNC_STEP", "use def", "@pipeline.step\nasync def ship(order: Order) -> Receipt: ..."),
    ("CARDINALITY_MISMATCH", "hints say ONE_TO_ONE", step(options="(cardinality='ONE_TO_MANY')")),
    ("CARDINALITY_MISMATCH", "use Iterator", step().replace("...", "\n    yield Receipt(1)")),
    ("DUPLICATE_STEP_NAME", '"Ship"', step(gives="Order") * 2),
    ("INVALID_STEP_NAME", "printable", step(options="(name=' ')")),
    ("INVALID_STEP_NAME", "shorten it", step(options="(name='İ' * 200)")),
    ("STEP_NOT_IMPORTABLE", "is a lambda", "pipeline.step(name='Ship')(lambda order: order)"),
    ("TYPES_DO_NOT_CHAIN", '"Bill" takes authored.Order, but "Ship" before it gives', step() + step(name="bill")),
    ("AWAIT_CARDINALITY", "one request per item", step(gives="list[Order]") + awaits(response="list[Order]")),
    ("INVALID_TIMEOUT", '"Approve".*positive', awaits(timeout="timedelta(0)")),
    ("INVALID_TIMEOUT", "hundred years", "pipeline.timer('Cool off', timedelta(days=40_000), of=Order)"),
    ("UNKNOWN_TRANSPORT", '"Approve".*carrier-pigeon', awaits(", transport='carrier-pigeon'")),
    ("INVALID_URL", '"Approve" has no url', awaits(", transport='webhook'")),
    ("INVALID_URL", "interaction-api does not take", awaits(", url='https://erp.example/'")),
    ("INVALID_URL", "eva@erp", awaits(", transport='webhook', url='https://eva@erp.example/'")),
    ("INVALID_RECIPIENT", '"Approve" has a assignee of 201 characters', awaits(", assignee='a' * 201")),
]


@cases(("code", "says", "body"), MISTAKES)
def test_a_mistake_has_a_code_its_place_and_advice(author: Author, code: str, says: str, body: str) -> None:
    with pytest.raises(DefinitionError, match=f"(?s)^{code}: .*({says})") as raised:
        compile_contract(author.pipeline(body))
    assert raised.value.code == code


@cases("pipeline_id", ["", "a/b", "ünit", "-a", "a" * 201, None])
def test_a_pipeline_id_must_be_usable_everywhere(pipeline_id: Any) -> None:
    with pytest.raises(DefinitionError, match="INVALID_PIPELINE_ID"):
        Pipeline(pipeline_id)


@cases(
    ("code", "says", "reference"),
    [
        ("INVALID_REFERENCE", "MODULE:NAME", "authored"),
        ("INVALID_REFERENCE", "MODULE:NAME", "authored:pipeline()"),
        ("MODULE_NOT_FOUND", "no module nowhere", "nowhere:pipeline"),
        ("MODULE_FAILED", "ZeroDivisionError", "broken:pipeline"),
        ("MODULE_FAILED", "SystemExit", "leaving:pipeline"),
        ("NAME_NOT_FOUND", "defines the pipelines pipeline", "authored:pipelin"),
        ("NOT_A_PIPELINE", "Order is a type, not a Pipeline; it defines the pipelines pipeline", "authored:Order"),
    ],
)
def test_an_invalid_reference_is_refused(author: Author, code: str, says: str, reference: str) -> None:
    author.pipeline("")
    author.write("broken.py", "1 / 0")
    author.write("leaving.py", "raise SystemExit(3)")
    with pytest.raises(DefinitionError, match=f"^{code}: .*{says}"):
        author.load(reference)
