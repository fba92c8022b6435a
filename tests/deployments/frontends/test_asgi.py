"""docs/openapi.json: is valid, equals the routes' own document, and `documented.check` finds other answers."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

import httpx
import pytest
from jsonschema import ValidationError
from openapi_spec_validator import validate

from azaion_client import results
from deployments.frontends.asgi import document
from tests.deployments.frontends.documented import DOCUMENT, PATH, check, validator


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Returns one line per difference between the checked-in document (ours) and the routes' own (theirs)."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        lines = []
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            here = f"{where} > {key}" if where else key
            if key not in theirs:
                lines.append(f"{here}: only in the document")
            elif key not in ours:
                lines.append(f"{here}: only in the routes")
            else:
                lines += differences(ours[key], theirs[key], here)
        return lines
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [line for i, (our, their) in pairs for line in differences(our, their, f"{where}[{i}]")]
    return [] if ours == theirs else [f"{where}: document {json.dumps(ours)}, routes {json.dumps(theirs)}"]


def test_the_document_is_what_the_routes_say():
    different = differences(DOCUMENT, json.loads(document()))
    assert not different, "run `make openapi`; docs/openapi.json differs:\n" + "\n".join(different)
    assert PATH.read_text() == document(), "run `make openapi`; only the order or the layout differs"


def test_a_difference_is_named_by_its_place():
    theirs = json.loads(document())
    operation = theirs["paths"]["/detect"]["post"]
    operation["summary"] = "Look"
    operation["parameters"][0]["required"] = True
    del theirs["paths"]["/model"]
    theirs["paths"]["/new"] = {}
    assert differences(json.loads(document()), theirs) == [
        'paths > /detect > post > summary: document "Find objects in pictures", routes "Look"',
        "paths > /detect > post > parameters[0] > required: document false, routes true",
        "paths > /model: only in the document",
        "paths > /new: only in the routes",
    ]


def test_the_document_is_valid_openapi():
    validate(DOCUMENT)


def test_every_operation_is_described():
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    ids = []
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            assert {"summary", "description", "operationId"} <= set(operation), f"{method} {path}"
            assert set(operation["tags"]) <= tags, f"{method} {path} has a tag that create_api does not describe"
            ids.append(operation["operationId"])
    assert len(ids) == len(set(ids))


def test_the_documents_examples_have_their_own_shapes():
    seen = []
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for example in schema.get("examples", []):
            validator(schema).validate(example)
            seen.append(name)
    assert {"DetectAnswer", "DetectManyAnswer", "ErrorAnswer", "ModelCard"} <= set(seen)
    for status, answer in DOCUMENT["paths"]["/detect"]["post"]["responses"].items():
        for code, example in answer["content"]["application/json"].get("examples", {}).items():
            validator(answer["content"]["application/json"]["schema"]).validate(example["value"])
            error = example["value"]["error"]
            assert (error["code"], str(error["status"])) == (code, status)


def answer(body: Any, status: int = 200, method: str = "GET", path: str = "/app-0/readyz") -> httpx.Response:
    return httpx.Response(status, json=body, request=httpx.Request(method, f"http://here{path}"))


def test_an_answer_as_documented_passes():
    check(answer({"status": "ready"}))
    check(answer({"error": {"code": "gpu_lost", "message": "gone", "status": 503}}, 503))
    check(answer({"anything": 1}, 404, path="/nothing"))


@pytest.mark.parametrize(
    "other",
    [
        answer({"status": "ready", "since": 3}),
        answer({"state": "ready"}),
        answer({"status": 1}),
        answer({"status": "ready"}, 201),
        answer({"error": {"code": "tired", "message": "", "status": 503}}, 503),
        httpx.Response(200, text="ready", request=httpx.Request("GET", "http://here/readyz")),
    ],
    ids=["one more key", "another key", "another type", "another status", "another code", "another kind"],
)
def test_an_answer_that_is_not_documented_is_found_out(other):
    with pytest.raises((AssertionError, ValidationError)):
        check(other)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (results.Detections, "DetectAnswer"),
        (results.Box, "Box"),
        (results.Size, "Size"),
        (results.Timing, "Timing"),
        (results.ModelName, "ModelName"),
        (results.ModelCard, "ModelCard"),
        (results.Limits, "Limits"),
    ],
)
def test_the_python_clients_types_are_the_documents(shape, name):
    documented = DOCUMENT["components"]["schemas"][name]
    own = {field.name: field.default is MISSING for field in fields(shape) if field.name != "request_id"}  # a header
    assert set(own) == set(documented["properties"])
    assert {name for name, required in own.items() if required} == set(documented["required"])
    simple = {"integer": int, "number": float, "string": str}
    for field, kind in get_type_hints(shape).items():
        told = documented["properties"].get(field, {})
        if is_dataclass(kind):
            assert told["$ref"].endswith(f"/{kind.__name__}")
        elif told.get("type") == "array":
            assert told["items"]["$ref"].endswith(f"/{get_args(kind)[0].__name__}")
        elif told.get("type") in simple:
            assert kind is simple[told["type"]]
