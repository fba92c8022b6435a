"""Documented answers: checks real ones against docs/openapi.json; every HTTP client of the tests does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator

PATH = Path(__file__).parents[3] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(PATH.read_text())


def check(response: httpx.Response) -> None:
    """Asserts that an answer is documented; accepts any answer for paths that are not in the document."""
    _, path = re.fullmatch(r"(/app-\d+)?(/.*)", response.url.path).groups()
    templates = {re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(path)): path for path in DOCUMENT["paths"]}
    known = next((template for pattern, template in templates.items() if re.fullmatch(pattern, path)), None)
    operation = DOCUMENT["paths"].get(known, {}).get(response.request.method.lower())
    if operation is None:
        return
    where = f"{response.request.method} {path}"
    assert str(response.status_code) in operation["responses"], f"{where}: {response.status_code} is not documented"
    announced = operation["responses"][str(response.status_code)].get("content", {})
    kind = response.headers.get("content-type", "").split(";")[0]
    assert kind in announced or (kind, announced) == ("", {}), (
        f"{where}: {response.status_code} as {kind!r} is not documented"
    )
    if kind == "application/json":
        check_json(json.loads(response.read()), announced[kind], where)


def check_json(body: Any, announced: dict[str, Any], where: str) -> None:
    validator(announced["schema"]).validate(body)
    if "error" in body and "examples" in announced:
        code = body["error"]["code"]
        assert code in announced["examples"], f"{where}: the code {code} is not documented"


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(_strict({**schema, "components": DOCUMENT["components"]}))


def _strict(schema: Any) -> Any:
    """Returns a copy of a schema that refuses keys it does not name, which JSON Schema allows by default."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {**closed, **{key: _strict(part) for key, part in schema.items()}}
