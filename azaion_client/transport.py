"""Transport: the httpx options and arguments that Client and AsyncClient share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import httpx

from azaion_client.steps import Send

CONNECT_TIMEOUT_S = 5.0
KEY_HEADER = "X-API-Key"
KEY_VARIABLE = "AZAION_KEY"
CONNECTIONS = 100
"""Maximum number of connections, all kept alive; httpx's default is 100, of which it keeps 20."""


def client_options(base_url: str, headers: Mapping[str, str] | None, key: str | None) -> dict[str, Any]:
    """Returns the arguments of `httpx.Client`; the key is the environment's AZAION_KEY unless one is given."""
    sent = httpx.Headers(headers)
    # Not Authorization: that may be a reverse proxy's. Stripped: a file or a shell may add the end of its line.
    if (key := (os.environ.get(KEY_VARIABLE, "") if key is None else key).strip()) and KEY_HEADER not in sent:
        sent[KEY_HEADER] = key
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    return {"base_url": base_url, "headers": sent, "limits": limits}


def request_arguments(step: Send) -> dict[str, Any]:
    """Returns the arguments of `httpx.Client.request` for a step."""
    return {
        "method": step.method,
        "url": step.path,
        "params": step.params,
        "headers": step.headers,
        "content": step.content,
        "files": step.files,
        "timeout": httpx.Timeout(step.timeout_s, connect=min(step.timeout_s, CONNECT_TIMEOUT_S)),
    }
