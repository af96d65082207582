import pytest

from pipelines.authoring.compiler import compile_contract, contract_text, declarations, load
from tests import making
from tests.cases import cases
from tests.docs import examples
from tests.unit.pipelines.conftest import Author
from tests.unit.wire.comparison.releases import field, named, record, scalar, wrapper
from wire.documents.contract import contract_from_json, hash_findings, parse_contract
from wire.documents.declarations import read, written
from wire.findings import DocumentError

PACK = "@pipeline.step\ndef pack(line: Line) -> Line:\n    return line\n\n"
WEIGH = PACK.replace("pack", "weigh")
BASE = f"""
@dataclass
class Line:
    sku: str
    amount: int

@pipeline.step
def split(order: Order) -> Iterator[Line]:
    yield Line("a", 1)

{PACK}{WEIGH}@pipeline.step
def ship(lines: list[Line]) -> Receipt:
    return Receipt(1)
"""
PLAIN = {"amount": "int", "text": "str | None", "names": "list[str]", "body": "", "line": "Line"}


@cases(
    ("before", "after", "changes"),
    [
        ("def pack(", "def wrap(", True),
        ("amount: int", "count: int", True),
        ("amount: int", "amount: int\n    colour: str = ''", True),
        ("amount: int", "amount: int | None", True),
        ("def ship(lines: list[Line]) -> Receipt", "def ship(lines: list[Line]) -> Order", True),
        (PACK + WEIGH, WEIGH + PACK, True),
        ('yield Line("a", 1)', 'yield Line("b", 2)', False),
        ("lines: list[Line]", "lines: Iterable[Line]", False),
        ("sku: str\n    amount: int", "amount: int\n    sku: str", False),
        ("def pack(line: Line)", "def pack(line: Line, context: StepContext)", False),
        ("class Line:", "class Line:\n    'A line.'", False),
    ],
)
def test_only_semantics_change_the_contract_version(author: Author, before: str, after: str, changes: bool) -> None:
    assert before in BASE
    old, new = (compile_contract(author.pipeline(body)) for body in (BASE, BASE.replace(before, after)))
    assert (old["contractVersion"] != new["contractVersion"]) is changes


def test_steps_and_awaits_in_the_contract(author: Author) -> None:
    pipeline = author.pipeline(
        """
        @pipeline.step
        def ship(order: Order) -> list[Receipt]: ...

        pipeline.awaits(
            "Approve payout", request=list[Receipt], response=Receipt, timeout=timedelta(days=1), group="finance"
        )
        """
    )
    document = compile_contract(pipeline)
    ship, approve = document["steps"]
    assert (ship["kind"], ship["cardinality"], ship["runtimeClass"]) == ("internal", "ONE_TO_MANY", "authored.ship")
    assert (ship["inputTypeId"], ship["outputTypeId"]) == ("authored.Order", "authored.Receipt")
    assert (approve["kind"], approve["cardinality"]) == ("await", "MANY_TO_ONE")
    assert approve["awaitTransport"] == "interaction-api"
    contract = parse_contract(contract_text(document).encode())
    assert (contract.result_shape, hash_findings(document)) == ("SINGLE", [])
    assert document["contractVersion"] == f"sha256:{document['contractHash']}"


def test_the_contract_says_which_release_of_which_pipeline_is_called(author: Author) -> None:
    members = "request=int, response=str, timeout=timedelta(days=7)"
    body = f"from pipelines import ACTIVE\npipeline.calls('Refund', 'refunds', {members}, release=%s)"
    [named], [active] = (compile_contract(author.pipeline(body % name))["steps"] for name in ("'1.4.2'", "ACTIVE"))
    assert {**active, "callsRelease": "1.4.2"} == named
    assert (named["kind"], named["awaitTransport"], named["callsPipeline"]) == ("await", "pipeline", "refunds")
    document = {**making.contract(), "steps": [{**active, "awaitTransport": "webhook"}]}
    with pytest.raises(DocumentError, match="only an await over the transport 'pipeline'"):
        contract_from_json(document)


def test_every_kind_of_field_has_its_definition(author: Author) -> None:
    pipeline = author.pipeline(
        """
        class Size(enum.StrEnum):
            LARGE = "large"
            SMALL = "s+m"

        Weight = typing.NewType("Weight", Decimal)

        class Crate(BaseModel):
            inner: "Crate | None"
            size: Size
            weight: typing.Annotated[Weight, Field(gt=0)]
            marks: tuple[str, ...] = ()
            extra: typing.Any = None
            prices: dict[str, Decimal]
            renamed: int = Field(alias="otherName")

        @pipeline.step
        def ship(crate: Crate) -> int: ...
        """
    )
    types = compile_contract(pipeline)["canonicalTypes"]
    assert list(types) == ["authored.Crate", "authored.Crate.weight", "authored.Size"]
    assert types["authored.Crate"]["definition"] == {
        "id": "authored.Crate",
        **record(
            field("extra", "json", optional=True),
            field("inner", named("authored.Crate"), nullable=True),
            field("marks", nullable=False, optional=True, repeated=True),
            field("otherName", "integer"),
            field("prices", {"kind": "map", "key": scalar("string"), "value": scalar("decimal")}),
            field("size", named("authored.Size")),
            field("weight", named("authored.Crate.weight")),
        ),
    }
    assert types["authored.Size"]["definition"] == {"id": "authored.Size", **wrapper(pattern=r"^(?:large|s\+m)$")}


def test_literals_unions_durations_and_results_that_may_be_none_have_definitions(author: Author) -> None:
    pipeline = author.pipeline(
        """
        class Size(enum.IntEnum):
            LARGE = 3
            SMALL = 1

        @dataclass
        class Card:
            kind: typing.Literal["card"]

        @dataclass
        class Transfer:
            kind: typing.Literal["transfer", "debit"]

        @dataclass
        class Payment:
            by: Card | Transfer
            size: Size
            within: timedelta
            key: int | str
            channel: typing.Literal["web", "shop", None] = None

        @pipeline.step
        def pay(payment: Payment) -> Card | None: ...

        @pipeline.step
        def report(card: Card | None) -> typing.Literal[2] | None: ...
        """
    )
    contract = compile_contract(pipeline)
    types = {name: entry["definition"] for name, entry in contract["canonicalTypes"].items()}
    integer, text = scalar("integer"), scalar("string")
    card, transfer = named("authored.Card"), named("authored.Transfer")
    by, key = types["authored.Payment.by"], types["authored.Payment.key"]
    assert (by["kind"], by["tag"]) == ("choice", "kind")
    assert [(variant["discriminator"], variant["payload"]) for variant in (*by["variants"], *key["variants"])] == [
        *(("card", card), ("debit", transfer), ("transfer", transfer), ("(number)", integer), ("(string)", text))
    ]
    assert types["authored.Size"] == {"id": "authored.Size", **wrapper("integer", allowedValues=[1, 3])}
    assert types["authored.Payment.channel"]["pattern"] == "^(?:shop|web)$"
    assert (types["duration"]["format"], types["duration"]["patternSyntax"]) == ("duration", "rust")
    pay, report = contract["steps"]
    assert pay["outputTypeId"] == report["inputTypeId"]
    assert types[pay["outputTypeId"]]["variants"] == [
        {"discriminator": "(null)"},
        {"discriminator": "(object)", "payload": card},
    ]
    assert report["outputTypeId"].startswith("integer|null#")
    assert parse_contract(contract_text(contract).encode()).canonical_types == contract["canonicalTypes"]


RULED = """
from pydantic import AfterValidator, StringConstraints, field_validator
LIMIT = 10

def checked(value):
    if value > LIMIT:
        raise ValueError
    return value

@dataclass
class Line:
    amount: {amount} = 7
    text: {text} = None
    names: {names} = field(default_factory=list)
{body}

@pipeline.step
def pack(line: {line}) -> int: ...
"""
RULES: list[dict[str, str]] = [
    *({"amount": f"typing.Annotated[int, {rule}]"} for rule in ("Field(ge=1)", "Field(multiple_of=2)")),
    *({"amount": f"typing.Annotated[int, AfterValidator({code})]"} for code in ("checked", "lambda value: value")),
    *({"text": f"typing.Annotated[str, {rule}] | None"} for rule in ("Field(pattern='a')", "Field(max_length=3)")),
    {"text": "typing.Annotated[str, StringConstraints(strip_whitespace=True)] | None"},
    {"text": "str"},
    {"names": "typing.Annotated[list[str], Field(min_length=1)]"},
    {"names": "list[typing.Annotated[str, Field(min_length=1)]]"},
    {"names": "dict[typing.Annotated[str, Field(min_length=1)], int]"},
    *({"body": f"    def __post_init__(self):\n        checked(self.amount + {number})"} for number in (1, 2)),
    {"body": "    def __post_init__(self):\n        checked(self.amount + 1)\nLIMIT = 11"},
    {"line": "typing.Annotated[Line, AfterValidator(checked)]"},
]


def test_everything_that_decides_whether_a_value_is_accepted_changes_the_contract(author: Author) -> None:
    """Without constraints the contract is that of earlier versions, so workers still host what these have built."""
    contracts = [compile_contract(author.pipeline(RULED.format(**PLAIN | rules))) for rules in (PLAIN, *RULES)]
    assert len({contract["contractVersion"] for contract in contracts}) == len(contracts)
    for contract in contracts:
        assert parse_contract(contract_text(contract).encode()).canonical_types == contract["canonicalTypes"]
        step = contract["steps"][0]
        assert step["inputTypeId"] in contract["canonicalTypes"]
    earlier = [
        compile_contract(author.pipeline(RULED.format(**PLAIN | rules)), constraints=False)["contractVersion"]
        for rules in (PLAIN, {"amount": "typing.Annotated[int, Field(ge=1)]"}, RULES[-1])
    ]
    assert len(set(earlier)) == 1


USED = """
import functools
import re
from pydantic import AfterValidator

def of_two(low, value):
    return value

def guarded(function):
    @functools.wraps(function)
    def guard(value, least={default}):
        return function(value)
    return guard

class Limits:
    least = {member}
    def __init__(self, low):
        self.low = low
    def check(self, value):
        return value
    def __call__(self, value):
        return self.check(value)

PATTERN, CHOICES, OWN = re.compile("{pattern}"), [{{"a": {{{item}}}}}], Limits({object})

@guarded
def checked(value):
    return value if PATTERN and CHOICES and OWN.low > Limits.least else None

@dataclass
class Base:
    def __post_init__(self):
        assert {base}

@dataclass
class Line(Base):
    amount: typing.Annotated[int, AfterValidator(checked), AfterValidator(functools.partial(of_two, {partial}))]
    count: typing.Annotated[int, AfterValidator(Limits({bound}).check), AfterValidator(Limits({called}))]
    def __post_init__(self):
        super().__post_init__()
        self.validate()
    def validate(self):
        assert {method}

@pipeline.step
def pack(line: Line) -> int: ...
"""


def test_what_a_validator_uses_changes_the_contract(author: Author) -> None:
    names = ("default", "member", "pattern", "item", "object", "base", "partial", "bound", "called", "method")
    same = dict.fromkeys(names, "1")
    written = [USED.format(**same), *(USED.format(**same | {name: "2"}) for name in names)]
    assert len({compile_contract(author.pipeline(text))["contractVersion"] for text in written}) == len(written)


def test_the_example_of_a_limit_declares_it_and_is_no_part_of_the_contract(author: Author) -> None:
    [example] = examples.of("docs/how-to/limit-concurrency.md")
    pipeline = author.pipeline(example)
    assert declarations(pipeline) == {"concurrency": {"limit": 1, "key": "account"}}
    limited = compile_contract(pipeline)
    unlimited = author.pipeline(example.replace(', concurrency=Concurrency(limit=1, key="account")', ""))
    assert compile_contract(unlimited) == limited


QUESTION = """
from typing import Annotated
Euros = Annotated[int, Field(json_schema_extra={{"unit": "EUR"}})]
class Claim(BaseModel):
    who: str
    lines: list["Line"]
class Line(BaseModel):
    price: {price} = Field({texts})
@dataclass
class Decision:
    pays: Annotated[bool, Field({texts})]
    amount: "Amount"
    why: typing.Literal["new", "lost", None]
    who: typing.Literal["a", "b"]
class Amount(enum.Enum):
    SMALL = "small"
    BIG = "big"
@pipeline.step
def register(claim: Claim) -> Claim:
    return claim
"""
ASK = 'pipeline.awaits("Ask", request=Claim, response=Decision, timeout=timedelta(days=1))'
TEXTS = 'title="T", description=" D  d", examples=[1, "x"]'


def test_questions_declare_the_order_of_fields_and_choices_and_their_texts(author: Author) -> None:
    pipeline = author.pipeline(QUESTION.format(price="Euros", texts=TEXTS) + ASK)
    texts = {"title": "T", "description": "D d", "examples": ["1", "x"]}
    types = {
        "authored.Claim": {"order": ["who", "lines"]},
        "authored.Line": {"fields": {"price": {**texts, "unit": "EUR"}}},
        "authored.Decision": {"order": ["pays", "amount", "why", "who"], "fields": {"pays": texts}},
        "authored.Decision.why": {"order": ["new", "lost"]},
        "authored.Amount": {"order": ["small", "big"]},
    }
    assert declarations(pipeline) == {"types": types} == read(written({"types": types}).encode())
    assert declarations(pipeline, described=False) == {}
    plain = author.pipeline(QUESTION.format(price="int", texts="") + ASK)
    assert compile_contract(plain)["contractHash"] == compile_contract(pipeline)["contractHash"]
    assert declarations(author.pipeline(QUESTION.format(price="Euros", texts=TEXTS))) == {}


def test_a_pipeline_that_uses_nothing_new_keeps_the_contract_of_earlier_builds() -> None:
    contract = compile_contract(load("examples.payments.pipeline:pipeline"))
    assert contract["contractVersion"] == "sha256:ce20dac936af532ac38d5615e6d72d10deae9cb01e1942b8c3bc74fa2dbc6192"
