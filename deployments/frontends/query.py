"""Query: parameters that several frontends read alike: `classes`, and those of a route that takes none.

A parameter that is not refused would be ignored silently.
"""

from __future__ import annotations

from collections.abc import Collection

from fastapi import Request

from azaion_engine.errors import InvalidParameterError, quote

_MOST_CLASSES = 65_536
"""Characters of all class ids and names of a request, about as many as the head of an HTTP request can have. Twenty
million stopped a replica for three seconds and took 500 MB."""


def class_names(texts: Collection[str]) -> list[str] | None:
    """Returns the class ids and names of a request; None, which means all classes, if there are none.

    Args:
        texts: Each has some, separated by commas.

    Raises:
        InvalidParameterError: They are too long.
    """
    if (given := sum(map(len, texts))) > _MOST_CLASSES:
        raise InvalidParameterError(f"classes: expected at most {_MOST_CLASSES} characters, given {given}")
    return [part for text in texts for part in text.split(",") if part.strip()] or None


async def no_query(request: Request) -> None:
    """Refuses a request with a query; a dependency of routes without parameters.

    Not for the page's address, to which other sites add parameters of their own, nor for the probes: a prober that adds
    some (`/readyz?verbose`) must not take a service for dead.

    Raises:
        InvalidParameterError: Names the first parameter.
    """
    for name in request.query_params:
        raise InvalidParameterError(f"there is no parameter {quote(name)}: {request.url.path[:200]} takes none")
