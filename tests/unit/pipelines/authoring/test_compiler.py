"""The contract of a pipeline, and the changes that give it another version."""

from typing import Any

from pipelines.authoring.compiler import compile_contract, contract_text
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import hash_findings, parse_contract

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


def version(author: Author, body: str) -> Any:
    return compile_contract(author.pipeline(body))["contractVersion"]


def test_changed_semantics_change_the_contract_version(author: Author) -> None:
    versions = {version(author, BASE)}
    changes = [
        ("def pack(", "def wrap("),
        ("amount: int", "count: int"),
        ("amount: int", "amount: int\n    colour: str = ''"),
        ("amount: int", "amount: int | None"),
        ("def ship(lines: list[Line]) -> Receipt", "def ship(lines: list[Line]) -> Order"),
        (PACK + WEIGH, WEIGH + PACK),
    ]
    for before, after in changes:
        assert before in BASE
        versions.add(version(author, BASE.replace(before, after)))
    assert len(versions) == 1 + len(changes)


def test_a_changed_body_keeps_the_contract_version(author: Author) -> None:
    for before, after in (
        ('yield Line("a", 1)', 'yield Line("b", 2)'),
        ("lines: list[Line]", "lines: Iterable[Line]"),
        ("sku: str\n    amount: int", "amount: int\n    sku: str"),
        ("def pack(line: Line)", "def pack(line: Line, context: StepContext)"),
        ("class Line:", "class Line:\n    'A line.'"),
    ):
        assert before in BASE
        assert version(author, BASE) == version(author, BASE.replace(before, after))


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
    scalar = {name: {"id": name, "kind": "scalar"} for name in ("string", "decimal", "json", "datetime")}
    assert types["authored.Crate"]["definition"] == {
        "fields": [
            {"name": "extra", "optional": True, "type": scalar["json"]},
            {"name": "inner", "nullable": True, "type": {"id": "authored.Crate", "kind": "named"}},
            {"name": "marks", "nullable": False, "optional": True, "repeated": True, "type": scalar["string"]},
            {"name": "otherName", "type": {"id": "integer", "kind": "scalar"}},
            {"name": "prices", "type": {"key": scalar["string"], "kind": "map", "value": scalar["decimal"]}},
            {"name": "size", "type": {"id": "authored.Size", "kind": "named"}},
            {"name": "weight", "type": {"id": "authored.Crate.weight", "kind": "named"}},
        ],
        "id": "authored.Crate",
        "kind": "record",
    }
    assert types["authored.Size"]["definition"] == {
        "id": "authored.Size",
        "kind": "wrapper",
        "pattern": r"^(?:large|s\+m)$",
        "wraps": scalar["string"],
    }


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
PLAIN = {"amount": "int", "text": "str | None", "names": "list[str]", "body": "", "line": "Line"}
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
    assert len({each["contractVersion"] for each in contracts}) == len(contracts)
    for contract in contracts:
        assert parse_contract(contract_text(contract).encode()).canonical_types == contract["canonicalTypes"]
        step = contract["steps"][0]
        assert step["inputTypeId"] in contract["canonicalTypes"]
    earlier = [
        compile_contract(author.pipeline(RULED.format(**PLAIN | rules)), constraints=False)["contractVersion"]
        for rules in (PLAIN, {"amount": "typing.Annotated[int, Field(ge=1)]"}, RULES[-1])
    ]
    assert len(set(earlier)) == 1
