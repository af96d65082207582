"""The contract of a pipeline, and the changes that give it another version."""

import json
from typing import Any

from pipelines.authoring.compiler import compile_contract, contract_text
from tests.cases import cases
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


@cases(
    ("before", "after"),
    [
        ("def pack(", "def wrap("),
        ("@pipeline.step\ndef pack", "@pipeline.step(name='Wrap')\ndef pack"),
        ("amount: int", "amount: Decimal"),
        ("amount: int", "count: int"),
        ("amount: int", "amount: int\n    colour: str = ''"),
        ("amount: int", "amount: int | None"),
        ("sku: str", "sku: list[str]"),
        ("def ship(lines: list[Line]) -> Receipt", "def ship(lines: list[Line]) -> Order"),
        ("def ship(lines: list[Line])", "def ship(lines: Line)"),
        ("@pipeline.step\ndef weigh", "def weigh"),
        (PACK + WEIGH, WEIGH + PACK),
    ],
)
def test_changed_semantics_change_the_contract_version(author: Author, before: str, after: str) -> None:
    assert before in BASE
    assert version(author, BASE) != version(author, BASE.replace(before, after))


@cases(
    ("before", "after"),
    [
        ('yield Line("a", 1)', 'yield Line("b", 2)'),
        ("lines: list[Line]", "lines: Iterable[Line]"),
        ("(line: Line)", "(item: Line)"),
        ("sku: str\n    amount: int", "amount: int\n    sku: str"),
        ("def pack(line: Line)", "def pack(line: Line, context: StepContext)"),
        ("class Line:", "class Line:\n    'A line.'"),
    ],
)
def test_a_changed_body_keeps_the_contract_version(author: Author, before: str, after: str) -> None:
    assert before in BASE
    assert version(author, BASE) == version(author, BASE.replace(before, after))


def test_equal_source_compiles_to_the_same_text_and_hints_may_be_strings(author: Author) -> None:
    first = contract_text(compile_contract(author.pipeline(BASE)))
    assert contract_text(compile_contract(author.pipeline(BASE))) == first
    author.write("authored.py", "from __future__ import annotations\n" + (author.folder / "authored.py").read_text())
    assert contract_text(compile_contract(author.load("authored:pipeline"))) == first


def test_the_coordinator_reads_the_contract_and_its_hash_is_valid(author: Author) -> None:
    document = compile_contract(author.pipeline(BASE))
    contract = parse_contract(contract_text(document).encode())
    assert hash_findings(document) == []
    assert contract.result_shape == "SINGLE"
    assert document["contractVersion"] == f"sha256:{document['contractHash']}"


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
    assert {name: document[name] for name in ("schemaVersion", "pipelineId", "platform", "transport", "module")} == {
        "schemaVersion": 2,
        "pipelineId": "org.acme.orders",
        "platform": "COMPUTE",
        "transport": "LOCAL",
        "module": "authored",
    }
    assert document["capabilities"] == {
        "localTransitionExecution": False,
        "transitionWorkerProtocols": ["celery", "rest"],
    }
    assert document["steps"] == [
        {
            "index": 0,
            "authoredName": "Ship",
            "kind": "internal",
            "cardinality": "ONE_TO_MANY",
            "inputTypeId": "authored.Order",
            "outputTypeId": "authored.Receipt",
            "runtimeClass": "authored.ship",
        },
        {
            "index": 1,
            "authoredName": "Approve payout",
            "kind": "await",
            "cardinality": "MANY_TO_ONE",
            "inputTypeId": "authored.Receipt",
            "outputTypeId": "authored.Receipt",
            "awaitTransport": "interaction-api",
        },
    ]
    parse_contract(contract_text(document).encode())


def test_a_pipeline_of_scalars_needs_no_canonical_types(author: Author) -> None:
    document = compile_contract(author.pipeline("@pipeline.step\ndef double(n: int) -> Decimal: ..."))
    assert (document["schemaVersion"], document["canonicalTypes"]) == (1, {})
    assert (document["steps"][0]["inputTypeId"], document["steps"][0]["outputTypeId"]) == ("integer", "decimal")
    parse_contract(contract_text(document).encode())


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
            free: dict[str, typing.Any]
            day: date
            at: datetime
            key: UUID
            fragile: bool
            ratio: float
            order: Order
            renamed: int = Field(alias="otherName")

        @pipeline.step
        def ship(crate: Crate) -> int: ...
        """
    )
    types = compile_contract(pipeline)["canonicalTypes"]
    assert list(types) == ["authored.Crate", "authored.Order", "authored.Size"]
    scalar = {
        name: {"id": name, "kind": "scalar"} for name in ("string", "decimal", "json", "date", "datetime", "uuid")
    }
    assert types["authored.Crate"]["definition"] == {
        "fields": [
            {"name": "at", "type": scalar["datetime"]},
            {"name": "day", "type": scalar["date"]},
            {"name": "extra", "optional": True, "type": scalar["json"]},
            {"name": "fragile", "type": {"id": "boolean", "kind": "scalar"}},
            {"name": "free", "type": scalar["json"]},
            {"name": "inner", "optional": True, "type": {"id": "authored.Crate", "kind": "named"}},
            {"name": "key", "type": scalar["uuid"]},
            {"name": "marks", "optional": True, "repeated": True, "type": scalar["string"]},
            {"name": "order", "type": {"id": "authored.Order", "kind": "named"}},
            {"name": "otherName", "type": {"id": "integer", "kind": "scalar"}},
            {"name": "prices", "type": {"key": scalar["string"], "kind": "map", "value": scalar["decimal"]}},
            {"name": "ratio", "type": {"id": "number", "kind": "scalar"}},
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
    parse_contract(json.dumps(compile_contract(pipeline)).encode())
