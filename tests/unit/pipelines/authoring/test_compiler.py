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
    assert list(types) == ["authored.Crate", "authored.Size"]
    scalar = {name: {"id": name, "kind": "scalar"} for name in ("string", "decimal", "json", "datetime")}
    assert types["authored.Crate"]["definition"] == {
        "fields": [
            {"name": "extra", "optional": True, "type": scalar["json"]},
            {"name": "inner", "optional": True, "type": {"id": "authored.Crate", "kind": "named"}},
            {"name": "marks", "optional": True, "repeated": True, "type": scalar["string"]},
            {"name": "otherName", "type": {"id": "integer", "kind": "scalar"}},
            {"name": "prices", "type": {"key": scalar["string"], "kind": "map", "value": scalar["decimal"]}},
            {"name": "size", "type": {"id": "authored.Size", "kind": "named"}},
            {"name": "weight", "type": scalar["decimal"]},
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
