from typing import Any

import pytest

from pipelines.authoring.compiler import compile_contract, declarations
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
from wire.documents.declarations import read, written
from wire.findings import DocumentError

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


WRONG = ({"titel": "T"}, {"unit": "x" * 21}, {"examples": ["x"] * 6})


@cases("wrong", [{"sort": []}, {"order": "a"}, {"fields": []}, *({"fields": {"a": value}} for value in WRONG)])
def test_wrong_descriptions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match="T"):
        read(written({"types": {"T": wrong}}).encode())
