"""Page of HTTP: the routes of docs/openapi.json, with their parameters, answers and error codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs.generator.tables import code, page, table

DOCUMENT = Path(__file__).parents[1] / "openapi.json"


def http() -> str:
    """Returns the page."""
    document = json.loads(DOCUMENT.read_text())
    found = operations(document)
    parts = [
        "The service's interface, as `/docs` and `/openapi.json` of a running one have it. "
        "[Requests and pictures](requests.md) says how to ask, [Errors](errors.md) what each code means. "
        "A [key](../guides/security.md#keys), where the service wants one, is `Authorization: Bearer …` or "
        "`X-API-Key: …`.",
        table(("route", ""), ((code(f"{method} {path}"), one["summary"]) for method, path, one in found)),
    ]
    for tag in document["tags"]:
        parts += [f"## {_title(tag['name'])}", tag["description"]]
        for method, path, operation in found:
            if operation["tags"] == [tag["name"]]:
                parts += _operation(method, path, operation)
    parts.append("## Objects")
    for name, schema in document["components"]["schemas"].items():
        parts += [f"### {name}", *_schema(schema)]
    return page("HTTP", "docs/openapi.json", *parts)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Returns method, path and operation of each route of an OpenAPI document, in its order."""
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _title(tag: str) -> str:
    return tag[0].upper() + tag[1:]


def _operation(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    parts = [f"### {method} {path}", operation.get("description", operation["summary"])]
    if parameters := operation.get("parameters"):
        rows = ((code(one["name"]), one["in"], kind(one["schema"]), one.get("description", "")) for one in parameters)
        parts.append(table(("parameter", "in", "type", ""), rows))
    if body := operation.get("requestBody"):
        parts.append("Body: " + ", ".join(map(code, body["content"])) + ".")
    rows = (
        (status, _codes(answer), ", ".join(_content(answer)), answer["description"])
        for status, answer in sorted(operation["responses"].items())
    )
    return [*parts, table(("status", "error codes", "answer", ""), rows)]


def _codes(answer: dict[str, Any]) -> str:
    return ", ".join(
        code(name) for content in answer.get("content", {}).values() for name in content.get("examples", {})
    )


def _content(answer: dict[str, Any]) -> list[str]:
    return [
        kind(content["schema"]) if media == "application/json" and content.get("schema") else code(media)
        for media, content in answer.get("content", {}).items()
    ]


def _schema(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required", ())
    rows = (
        (code(name), kind(field), "" if name in required else "optional", field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    )
    return [schema.get("description", ""), table(("field", "type", "", ""), rows)]


def kind(schema: dict[str, Any]) -> str:
    """Returns the type of a JSON schema in words: a link for an object of this page, and its range."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf", schema.get("allOf")):
        return " or ".join(dict.fromkeys(kind(one) for one in choices if one.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if "const" in schema:
        return code(schema["const"])
    if schema.get("type") == "array":
        items = schema.get("items") or {"anyOf": schema.get("prefixItems", [])}
        return f"list of {kind(items)}" if items.get("type") or len(items) else "list"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    if "maxLength" in schema:
        limits.append(f"at most {schema['maxLength']} characters")
    return ", ".join([schema.get("type", "any"), *limits])
