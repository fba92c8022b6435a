"""Prints the OpenAPI document of the routes: `python -m deployments.frontends.openapi > docs/openapi.json`."""

from __future__ import annotations

import json

from deployments.frontends.detect.routes import create_api


def document() -> str:
    """Returns the document as JSON text, in the order of the routes."""
    return json.dumps(create_api().openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(document(), end="")
