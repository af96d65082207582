"""Validates JSON objects with pydantic models, by strict rules.

Unknown members are errors. A missing or null primitive reads as 0 or false. A missing or null reference is an error if
it is required. This module has the models' field types, and translates pydantic's errors to findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from wire.documents.json_reader import Dialect, Path, quoted
from wire.findings import DocumentError, Finding
from wire.identity import RULE, SEGMENT_RULE, is_identifier

IDENTITY_LENGTH = 500
"""How many characters an identity may have."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class Document(BaseModel):
    """The base class of all models of documents: frozen, strict, without unknown members, camelCase in JSON."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel, validate_default=True)

    def normalised(self) -> dict[str, Any]:
        """Return the document as JSON values, with defaults and nulls."""
        return self.model_dump(mode="json", by_alias=True)


class OpenDocument(Document):
    """The base class of models of others' formats, whose newer versions have more members. Unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore")


# --- member types ---------------------------------------------------------------------------------


def _reject_null(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("missing", "null")
    return value


def _reject_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("blank", "blank")
    return value


def required_text(value: Any) -> str:
    """Return a text that is not blank, for validators that read it further. Raises as `RequiredText` does."""
    if value is not None and not isinstance(value, str):
        raise PydanticCustomError("string_type", "not a string")
    return _reject_blank(_reject_null(value))


def _require_identifier(value: str) -> str:
    # The scan has already reported U+0000.
    if not is_identifier(value) and "\0" not in value:
        raise PydanticCustomError("identifier", "identifier")
    return value


def _identifier_or_blank(value: str) -> str:
    return _require_identifier(value) if value else value


def _require_segment(value: str) -> str:
    if "/" in value:
        raise PydanticCustomError("segment", "segment")
    return value


def _tuple_or_empty(value: Any) -> Any:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else value


def null_as(default: Any) -> BeforeValidator:
    """Return the rule that null reads as `default`."""
    return BeforeValidator(lambda value: default if value is None else value)


ArrayOrNull = BeforeValidator(_tuple_or_empty)
"""Marks a tuple that is an array in JSON. Null reads as an empty array."""
RequiredText = Annotated[str, AfterValidator(_reject_blank), BeforeValidator(_reject_null)]
TextOrEmpty = Annotated[str, null_as("")]
_IDENTIFIER = (AfterValidator(_reject_blank), AfterValidator(_require_identifier), BeforeValidator(_reject_null))
RequiredIdentifier = Annotated[str, *_IDENTIFIER]
Identity = Annotated[str, Field(max_length=IDENTITY_LENGTH), *_IDENTIFIER]
SegmentIdentity = Annotated[Identity, AfterValidator(_require_segment)]
"""An identity that can be a segment of a URL's path."""
Identifiers = Annotated[tuple[Annotated[str, AfterValidator(_identifier_or_blank)], ...], ArrayOrNull]
IdentifierOrNull = Annotated[str, AfterValidator(_identifier_or_blank)] | None
"""For a member that may be absent, null or empty."""
Texts = Annotated[tuple[str, ...], ArrayOrNull]
Flag = Annotated[bool, null_as(False)]
Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1), null_as(0)]
ObjectOrNull = null_as({})


# --- models against objects -----------------------------------------------------------------------


def shape(model: type[ModelT], document: Mapping[str, Any], dialect: Dialect) -> tuple[ModelT | None, list[Finding]]:
    """Return the model and no findings, or None and all findings in the order of the model's members."""
    try:
        return model.model_validate(document, by_alias=True, by_name=False), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, [finding for detail in details if (finding := _translated(detail, dialect)) is not None]


def shaped(model: type[ModelT], document: Mapping[str, Any], dialect: Dialect) -> ModelT:
    """Return the model. Raises `DocumentError` with all findings."""
    instance, findings = shape(model, document, dialect)
    if instance is None:
        raise DocumentError(findings)
    return instance


RULES: dict[str, tuple[str, str]] = {
    "missing": ("{0}_MISSING_MEMBER", "{1} is required"),
    "blank": ("{0}_BLANK_MEMBER", "{1} is required"),
    "string_type": ("{0}_WRONG_TYPE", "{1} must be a string"),
    "int_type": ("{0}_WRONG_TYPE", "{1} must be an integer"),
    "bool_type": ("{0}_WRONG_TYPE", "{1} must be true or false"),
    "tuple_type": ("{0}_WRONG_TYPE", "{1} must be an array"),
    "dict_type": ("{0}_WRONG_TYPE", "{1} must be an object"),
    "model_type": ("{0}_WRONG_TYPE", "{1} must be an object"),
    "greater_than_equal": ("{0}_NUMBER_OUT_OF_RANGE", "{1} must fit in 32 bits"),
    "less_than_equal": ("{0}_NUMBER_OUT_OF_RANGE", "{1} must fit in 32 bits"),
    "identifier": ("IDENTITY_MALFORMED", f"{{1}} {RULE}"),
    "segment": ("IDENTITY_MALFORMED", f"{{1}} {SEGMENT_RULE}"),
    "string_too_long": ("IDENTITY_TOO_LONG", f"{{1}} is longer than {IDENTITY_LENGTH} characters"),
}


def _translated(detail: ErrorDetails, dialect: Dialect) -> Finding | None:
    path: Path = detail["loc"]
    kind = detail["type"]
    if kind == "string_unicode":
        return None  # a lone surrogate, which the scan has reported
    if kind == "extra_forbidden":
        return dialect.finding(f"{dialect.code}_UNKNOWN_MEMBER", path, f"Unrecognized field {quoted(str(path[-1]))}")
    if kind in RULES:
        code, message = RULES[kind]
        return dialect.finding(code.format(dialect.code), path, message.format(dialect.code, _label(path)))
    # Other errors come from our own validators, which provide code and message. If a validator rejects a default,
    # pydantic reports the attribute's name instead of the member's.
    member = path[-1]
    here = (*path[:-1], to_camel(member) if isinstance(member, str) else member)
    return dialect.finding(kind, here, detail["msg"])


def _label(path: Path) -> str:
    """Return the last member's name with the indexes after it: `artifacts[0]`."""
    label = ""
    for segment in reversed(path):
        if isinstance(segment, str):
            return (segment if segment.isidentifier() else quoted(segment)) + label
        label = f"[{segment}]{label}"
    return "the document"
