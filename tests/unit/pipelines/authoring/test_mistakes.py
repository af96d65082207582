from typing import Any

import pytest

from pipelines import DefinitionError, Pipeline
from pipelines.authoring.compiler import compile_contract
from pipelines.release.packaging import build
from tests.cases import cases
from tests.raising import error_of
from tests.unit.pipelines.conftest import Author


def step(takes: str = "order: Order", gives: str = "Receipt", name: str = "ship", options: str = "") -> str:
    return f"@pipeline.step{options}\ndef {name}({takes}) -> {gives}: ...\n"


def awaits(more: str = "", response: str = "Order", timeout: str = "timedelta(1)", request: str = "Order") -> str:
    return f"pipeline.awaits('Approve', request={request}, response={response}, timeout={timeout}{more})\n"


def calls(pipeline_id: Any = "refunds", release: Any = "1", timeout: str = "timedelta(1)") -> str:
    called = f"{pipeline_id!r}, release={release!r}, timeout={timeout}"
    return f"pipeline.calls('Refund', {called}, request=int, response=str)\n"


def crate(field: str) -> str:
    return f"@dataclass\nclass Crate:\n    {field}\n\n" + step("crate: Crate")


def searching(search: dict[str, str], body: str = "") -> str:
    return f"pipeline = Pipeline('org.acme.crates', search={search!r})\n\n{body or step()}"


def limiting(concurrency: str, body: str = "") -> str:
    return f"pipeline = Pipeline('org.acme.crates', concurrency=Concurrency({concurrency}))\n\n{body or step()}"


def parallel(options: str, takes: str = "n: int") -> str:
    return step("n: int", "Iterator[int]", "spread") + step(takes, "int", options=f"({options})")


HIDDEN = "def make():\n    @dataclass\n    class Crate:\n        id: int\n    return Crate\nHidden = make()\n"
GENERIC = 'T = typing.TypeVar("T")\nclass Page(BaseModel, typing.Generic[T]):\n    item: T\n'
ALIASES = "class Crate(BaseModel):\n    id: int = Field(validation_alias='a', serialization_alias='b')\n\n"
TYPED = "class Crate(typing.TypedDict):\n    id: int\n\n"
TUPLE = "class Crate(typing.NamedTuple):\n    id: int\n\n"
BARE = "class Crate:\n    def __init__(self, id): ...\n\n"
SHIP, CRATE = "def ship", "    "
COOL_OFF, BOTH = "pipeline.timer('Cool off', timedelta(hours=1))\n", step("order: Order, answer: Order")
METHOD = step("self, order: Order").replace("\n", "\n ", 1)
ASYNC = step().replace("def", "async def")
MISTAKES = [
    # code, what the message must say, body, how the line of its place begins
    ("EMPTY_PIPELINE", "no steps", "", "pipeline ="),
    ("NO_TYPE_HINTS", "\"Ship\".*parameter 'order'; write order: and its type", step("order"), SHIP),
    ("NO_TYPE_HINTS", "return value; write ->", "@pipeline.step\ndef ship(order: Order): ...", SHIP),
    ("UNRESOLVED_HINT", "Crate.*Missing", crate('content: "Missing"'), "class Crate"),
    ("UNSUPPORTED_TYPE", '"Ship".*complex.*use a dataclass', step("order: complex"), SHIP),
    ("UNSUPPORTED_TYPE", "write a dataclass with one field: value: dict", step("order: dict[str, int]"), SHIP),
    ("UNSUPPORTED_TYPE", "field 'weight' of authored.Crate", crate("weight: complex"), "    weight"),
    ("UNSUPPORTED_TYPE", "neither a list nor None", crate("tags: list[int | None]"), "    tags"),
    ("UNSUPPORTED_TYPE", "use dict.str, str.", crate("tags: dict[int, str]"), "    tags"),
    ("UNSUPPORTED_TYPE", "init=False", crate("id: int = field(init=False, default=1)"), "class Crate"),
    ("UNSUPPORTED_TYPE", "same alias", ALIASES + step("crate: Crate"), "class Crate"),
    ("UNSUPPORTED_TYPE", "values that are texts", "class Size(enum.Enum):\n    S = 1.5\n" + step("size: Size"), SHIP),
    ("UNSUPPORTED_TYPE", "texts only, or with whole", crate("kind: typing.Literal['a', 1]"), "    kind"),
    ("UNSUPPORTED_TYPE", "one number", crate("size: int | float"), "    size"),
    ("UNSUPPORTED_TYPE", "at most one type that is a text", crate("at: str | date"), "    at"),
    ("UNSUPPORTED_TYPE", "no list", crate("many: list[int] | int"), "    many"),
    ("UNSUPPORTED_TYPE", "field by which they differ", crate("by: Order | Receipt"), "    by"),
    ("UNSUPPORTED_TYPE", "first step.*never null", step("order: Order | None"), SHIP),
    ("UNSUPPORTED_TYPE", '"Approve".*never null', awaits(response="Order | None"), "pip"),
    ("UNSUPPORTED_TYPE", "use list.str.*set.values", step(gives="set[str]"), SHIP),
    ("UNSUPPORTED_TYPE", "use list.str", crate("tags: frozenset[str]"), "    tags"),
    ("UNSUPPORTED_TYPE", "b64encode", crate("data: bytes"), "    data"),
    ("UNSUPPORTED_TYPE", "'12:30'", "from datetime import time\n" + crate("opened: time"), "    opened"),
    ("UNSUPPORTED_TYPE", "@dataclass class Crate: id: int", TYPED + step("crate: Crate"), SHIP),
    ("UNSUPPORTED_TYPE", "@dataclass class Crate: id: int", TUPLE + step("crate: Crate"), SHIP),
    ("UNSUPPORTED_TYPE", "@dataclass in front of class Crate", BARE + step("crate: Crate"), SHIP),
    ("UNSUPPORTED_TYPE", "dataclass with named fields", crate("pair: tuple[int, str]"), "    pair"),
    ("UNSUPPORTED_TYPE", "None carries no value", step(gives="None"), SHIP),
    ("UNSUPPORTED_TYPE", "use Iterator.authored.Receipt", step(gives="typing.AsyncIterator[Receipt]"), SHIP),
    ("TYPE_NOT_IMPORTABLE", "top of a module", HIDDEN + step("crate: Hidden"), SHIP),
    ("TYPE_NOT_IMPORTABLE", r"class IntPage\(Page.int.\)", GENERIC + step("page: Page[int]"), SHIP),
    ("INVALID_SIGNATURE", '"Ship".*takes one input', step(""), SHIP),
    ("INVALID_SIGNATURE", "'speed'.*dataclass with a field for each", step("order: Order, speed: int"), SHIP),
    ("INVALID_SIGNATURE", "a method of Yard.*module level", "class Yard:\n " + METHOD, SHIP),
    ("ASYNC_STEP", "is AsyncIterator.T.", ASYNC.replace("...", "\n    yield order"), "async def ship"),
    ("ASYNC_STEP", "with yield", ASYNC.replace("Receipt:", "typing.AsyncIterator[Receipt]:"), "async def ship"),
    ("CARDINALITY_MISMATCH", "hints say ONE_TO_ONE", step(options="(cardinality='ONE_TO_MANY')"), SHIP),
    ("CARDINALITY_MISMATCH", "use Iterator", step().replace("...", "\n    yield Receipt(1)"), SHIP),
    ("DUPLICATE_STEP_NAME", '"Ship", in authored.py:23 .*give one function another', step(gives="Order") * 2, SHIP),
    ("DUPLICATE_STEP_NAME", 'name="SHIP again"', step() + step(options="(name='SHIP')", name="load"), "def load"),
    ("INVALID_PIPELINE_ID", "'no id' is not", "Pipeline('no id')", "Pipeline("),
    ("INVALID_STEP_NAME", "printable", step(options="(name=' ')"), SHIP),
    ("INVALID_STEP_NAME", "shorten it", step(options="(name='İ' * 200)"), SHIP),
    ("INVALID_OPTIONS", "'retires'; did you mean retries=", step(options="(retires=3)"), "@pip"),
    ("INVALID_STEP_POLICY", '"Ship": retries=1.5.*whole number from 0 to 1000', step(options="(retries=1.5)"), SHIP),
    ("INVALID_STEP_POLICY", "retries=True.*; multiplier=0.5", step(options="(retries=True, multiplier=0.5)"), SHIP),
    ("INVALID_STEP_POLICY", "or a timedelta from 0 to 1800", step(options="(delay=timedelta(1))"), SHIP),
    ("INVALID_STEP_POLICY", "longer than max_delay=1", step(options="(delay=2, max_delay=1)"), SHIP),
    ("INVALID_STEP_POLICY", "from 0.1 to 604800; jitter=0", step(options="(timeout=0, jitter=0)"), SHIP),
    ("INVALID_STEP_POLICY", "has 3, which is no exception", step(options="(retry_on=(OSError, 3))"), SHIP),
    ("INVALID_STEP_POLICY", "give_up_on has 0 classes", step(options="(give_up_on=())"), SHIP),
    ("INVALID_PARALLEL", "has parallel=0; give a whole number from 1 to 256", parallel("parallel=0"), SHIP),
    ("INVALID_PARALLEL", "on_item_failure='fail' without parallel", parallel("on_item_failure='fail'"), SHIP),
    ("INVALID_PARALLEL", "on_item_failure='x'; use", parallel("parallel=2, on_item_failure='x'"), SHIP),
    ("INVALID_PARALLEL", "lacks ItemFailure", parallel("parallel=2, on_item_failure='collect'"), SHIP),
    ("INVALID_PARALLEL", "stream; let it take one item, integer", parallel("parallel=2", "n: list[int]"), SHIP),
    ("INVALID_OPTIONS", "no option 'nam'; did you mean name=", step(options="(nam='Ship')"), "@pip"),
    ("INVALID_OPTIONS", "awaits is missing.* argument: 'response'", "pipeline.awaits('A', request=int)", "pip"),
    ("NOT_A_FUNCTION", "not a class; write def", "pipeline.step(Order)", "pipeline.step(Order)"),
    ("STEP_NOT_IMPORTABLE", "is a lambda", "pipeline.step(name='Ship')(lambda order: order)", "pipeline.step("),
    ("TYPES_DO_NOT_CHAIN", '"Bill" takes authored.Order, but "Ship" before', step() + step(name="bill"), "def bill"),
    ("TYPES_DO_NOT_CHAIN", "Bill", step(gives="Order | None") + step(name="bill"), "def bill"),
    ("TYPES_DO_NOT_CHAIN", "Bill", step(gives="int | None") + step("n: int | str", name="bill"), "def bill"),
    ("INVALID_SIGNATURE", "after a question the answer may follow", awaits() + COOL_OFF + BOTH, SHIP),
    ("INVALID_SIGNATURE", "after a question the answer", awaits() + step("a: Order, b: Order, c: Order"), SHIP),
    ("TYPES_DO_NOT_CHAIN", "the request authored.Order, but.*request int", awaits(request="int") + BOTH, SHIP),
    ("TYPES_DO_NOT_CHAIN", "Order, but.*; write answer: bool", awaits(response="bool") + BOTH, SHIP),
    ("TYPES_DO_NOT_CHAIN", "write answer: list.authored.Order", awaits(response="list[Order]") + BOTH, SHIP),
    ("TYPES_DO_NOT_CHAIN", "write request: authored.Order", awaits() + step("a: list[Order], b: Order"), SHIP),
    ("AWAIT_CARDINALITY", "one request per item", step(gives="list[Order]") + awaits(response="list[Order]"), "pip"),
    ("INVALID_TIMEOUT", '"Approve".*positive', awaits(timeout="timedelta(0)"), "pip"),
    ("INVALID_TIMEOUT", "hundred years", "pipeline.timer('Cool off', timedelta(days=40_000), of=Order)", "pip"),
    ("UNKNOWN_TRANSPORT", '"Approve".*carrier-pigeon', awaits(", transport='carrier-pigeon'"), "pip"),
    ("INVALID_URL", '"Approve" has no url', awaits(", transport='webhook'"), "pip"),
    ("INVALID_URL", "interaction-api does not take", awaits(", url='https://erp.example/'"), "pip"),
    ("INVALID_URL", "eva@erp", awaits(", transport='webhook', url='https://eva@erp.example/'"), "pip"),
    ("INVALID_SEARCH", "names 9 fields", searching({str(n): "a" for n in range(9)}), "pip"),
    ("INVALID_SEARCH", "the name 'a b'; a name has", searching({"a b": "number"}), "pip"),
    ("INVALID_SEARCH", "the path '.number'", searching({"n": ".number"}), "pip"),
    ("INVALID_SEARCH", "no field nummer; it has number, total", searching({"n": "nummer"}), "pip"),
    ("INVALID_SEARCH", "number has no field id; it has no fields", searching({"n": "number.id"}), "pip"),
    ("INVALID_SEARCH", "tags is a list", searching({"n": "tags"}, crate("tags: list[str]")), "pip"),
    ("INVALID_SEARCH", "by is not one text", searching({"n": "by"}, crate("by: Order")), "pip"),
    ("INVALID_SEARCH", "first step takes many", searching({"n": "number"}, step("orders: list[Order]")), "pip"),
    ("INVALID_CONCURRENCY", "the limit 0; it is.*such as Concurrency", limiting("limit=0"), "pip"),
    ("INVALID_CONCURRENCY", "whenFull 'drop'", limiting("limit=1, when_full='drop'"), "pip"),
    ("INVALID_CONCURRENCY", "'nummer', but.* no field nummer", limiting("limit=1, key='nummer'"), "pip"),
    ("INVALID_CONCURRENCY", "first step takes many", limiting("1, 'number'", step("orders: list[Order]")), "pip"),
    *(("INVALID_PIPELINE_ID", "", calls(name), "pip") for name in ("two words", "", None)),
    *(("INVALID_RELEASE", "", calls(release=name), "pip") for name in (None, "", "a/b", "x" * 501, " 1")),
    ("INVALID_TIMEOUT", "", calls(timeout="timedelta(0)"), "pip"),
    ("INVALID_RECIPIENT", '"Approve" has a assignee of 201 characters', awaits(", assignee='a' * 201"), "pip"),
    ("INVALID_RECIPIENT", "group of 101 characters; use 1 to 100", awaits(", group='a' * 101"), "pip"),
]


@cases(("code", "says", "body", "line"), MISTAKES)
def test_a_mistake_has_a_code_its_place_and_advice(author: Author, code: str, says: str, body: str, line: str) -> None:
    with pytest.raises(DefinitionError, match=f"(?s)^{code}: .*({says})") as raised:
        compile_contract(author.pipeline(body))
    file, _, number = raised.value.place.partition(":")
    assert (raised.value.code, file) == (code, "authored.py")
    source = (author.folder / file).read_text(encoding="utf-8").splitlines()
    assert source[int(number) - 1].strip().startswith(line.strip())


def places(error: DefinitionError) -> list[str]:
    return [f"{mistake.code}{mistake.place.removeprefix('authored.py')}" for mistake in error.errors]


def test_all_mistakes_are_reported_at_once_each_with_its_place(author: Author) -> None:
    """A build also reports defaults that no value can have. Workers host what earlier builds made with them."""
    doubtful = crate(
        "weight: float = float('nan')\n    note: str = None\n    count: int = '1'\n    size: float = 1\n"
        "    kind: typing.Literal['a'] = 'c'\n    lid: int | None = None\n"
    )
    other = step(options="(name='Ship', repeats=3)", gives="bytes", name="load")
    error = error_of(DefinitionError, author.pipeline, other + doubtful.replace("def ship", "async def ship"))
    assert places(error) == ["INVALID_OPTIONS:22", "DUPLICATE_STEP_NAME:35", "UNSUPPORTED_TYPE:23"]
    error = error_of(DefinitionError, build, author.pipeline(doubtful), author.folder.parent / "dist")
    assert places(error) == [f"INVALID_DEFAULT:{line}" for line in (24, 25, 26, 28)]


@cases("pipeline_id", ["", "a/b", "ünit", "-a", "a" * 201, None])
def test_a_pipeline_id_must_be_usable_everywhere(pipeline_id: Any) -> None:
    with pytest.raises(DefinitionError, match="INVALID_PIPELINE_ID"):
        Pipeline(pipeline_id)
