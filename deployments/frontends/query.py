"""Query: refuses the parameters of a route that takes none, which would otherwise be ignored silently."""

from __future__ import annotations

from fastapi import Request

from azaion_engine.errors import InvalidParameterError, quote


async def no_query(request: Request) -> None:
    """Refuses a request with a query; a dependency of routes without parameters.

    Not for the page's address, to which other sites add parameters of their own, nor for the probes: a prober that adds
    some (`/readyz?verbose`) must not take a service for dead.

    Raises:
        InvalidParameterError: Names the first parameter.
    """
    for name in request.query_params:
        raise InvalidParameterError(f"there is no parameter {quote(name)}: {request.url.path[:200]} takes none")
