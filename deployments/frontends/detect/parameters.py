"""DetectParameters: what a request to `/detect` may ask for, in its query or in the fields of its form."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError, field_validator
from starlette.datastructures import QueryParams

from azaion_engine.errors import InvalidParameterError
from deployments.frontends.query import class_names


class DetectParameters(BaseModel):
    """Parameters of one request; one that is left empty, as by an empty field of a form, has its default."""

    confidence: float | None = Field(None, ge=0, le=1, description="Leave out boxes below this; default: the model's.")
    classes: list[str] | None = Field(
        None, description="Class ids or names to keep, repeated or comma-separated; default: all."
    )
    iou: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of two boxes of a class that overlap by more, the better stays; default: the model's.",
    )
    max_detections: int | None = Field(None, ge=1, description="Maximum number of boxes; default: the service's.")
    tiles: str | None = Field(
        None,
        max_length=100,
        description="Cut a large picture into overlapping tiles, so that small objects are found: `auto`, the size of "
        "a tile in pixels, or `off`; default: the service's.",
    )
    answer_format: Literal["json", "image"] | None = Field(
        None,
        alias="format",
        description="`image` answers one picture as a JPEG with its boxes drawn; default: what the Accept header "
        "prefers, else `json`.",
    )

    @field_validator("confidence", "iou", "max_detections", "tiles", "answer_format", mode="before")
    @classmethod
    def _empty_is_default(cls, given: Any) -> Any:
        return None if isinstance(given, str) and not given.strip() else given

    @field_validator("classes")
    @classmethod
    def _split(cls, given: list[str] | None) -> list[str] | None:
        return class_names(given or [])

    def wanted(self) -> dict[str, Any]:
        """Returns the arguments of `DetectorService.detect`."""
        return self.model_dump(exclude={"answer_format"})


NAMES = tuple(field.alias or name for name, field in DetectParameters.model_fields.items())
"""Names of the parameters, as requests have them."""


def refuse_odd(query: QueryParams) -> None:
    """Refuses a query with a parameter, or a second value of one, that would else be without effect.

    Raises:
        InvalidParameterError: The first parameter of another name, and those that there are; or one that is a single
            value and is given several times.
    """
    for name in query:
        if name not in NAMES:
            raise InvalidParameterError(unknown(name))
        if name != "classes" and len(query.getlist(name)) > 1:
            raise InvalidParameterError(f"{name}: given several times in the query")


def unknown(name: str) -> str:
    """Describes a name that is no parameter."""
    near = difflib.get_close_matches(name.lower().rstrip("[]"), NAMES, 1, 0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no parameter {name[:200]!r}, only {', '.join(NAMES)}{meant}"


def with_form(asked: DetectParameters, query: QueryParams, fields: list[tuple[str, str]]) -> DetectParameters:
    """Returns the parameters of a query together with those of a form's fields.

    Args:
        asked: The query's parameters.
        query: The query.
        fields: Names, each of `NAMES`, and values of the form.

    Raises:
        InvalidParameterError: A parameter is in both, or one that is a single value several times in the form.
        RequestValidationError: A value is not accepted.
    """
    given: dict[str, Any] = {}
    for name, value in fields:
        if name in query:
            raise InvalidParameterError(f"{name}: given in the query and in the form; leave one out")
        if name == "classes":
            given.setdefault(name, []).append(value)
        elif name in given:
            raise InvalidParameterError(f"{name}: given several times in the form")
        else:
            given[name] = value
    if not given:
        return asked
    try:
        return DetectParameters.model_validate({**asked.model_dump(by_alias=True), **given})
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
