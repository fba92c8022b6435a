"""Routes of a catalogue: the list of models, probes, and requests that name a model in their query."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from azaion_engine.errors import InvalidParameterError
from deployments.access.caller import known, told
from deployments.catalog.catalog import Catalog
from deployments.errors import ModelUnavailableError
from deployments.frontends.catalog.forwarding import Models, forward
from deployments.frontends.catalog.schema import ModelList
from deployments.frontends.page.routes import page_of_several
from deployments.frontends.query import no_query

router = APIRouter()
router.add_api_route("/", page_of_several, methods=["GET"], include_in_schema=False)

_FORWARDED = ["GET", "POST", "PUT", "DELETE", "PATCH"]


@router.get(
    "/models", tags=["service"], summary="List the models", response_model=ModelList, dependencies=[Depends(no_query)]
)
async def models(catalog: Models) -> JSONResponse:
    """Lists the models that the key is for, with their state; one that failed says why, and the others are served."""
    described = {model["name"]: model for model in await catalog.describe()}
    return JSONResponse({"models": [described[name] for name in known(described)]})


@router.post("/detect", tags=["detection"], summary="Find objects with one of the models")
async def detect(request: Request, catalog: Models) -> Response:
    """Lets the model of the query, `?model=NAME`, answer, as `/models/NAME/detect` does with one hop less."""
    return await forward(request, catalog, _named(request, catalog), "/detect", _without_model(request))


@router.get("/model", tags=["service"], summary="Describe one of the models")
async def model(request: Request, catalog: Models) -> Response:
    """Answers the card of the model of the query, `?model=NAME`."""
    return await forward(request, catalog, _named(request, catalog), "/model", _without_model(request))


@router.get("/healthz", tags=["service"], summary="Does the process live?")
async def healthz() -> JSONResponse:
    """Answers as long as the process lives."""
    return JSONResponse({"status": "live"})


@router.get("/readyz", tags=["service"], summary="Would pictures be answered?")
async def readyz(catalog: Models) -> JSONResponse:
    """Answers 200 when no model is starting and at least one answers, else 503 with the reason.

    A model that failed is no reason: the others serve, and `/models` tells its state.
    """
    states = await catalog.states()
    starting = [name for name, state in states.items() if state.state == "starting" and not state.answers]
    if starting:
        raise ModelUnavailableError(f"starting: {told(starting, 'at least one model')}")
    if not any(state.answers for state in states.values()):
        raise ModelUnavailableError("no model is served; /models tells why")
    return JSONResponse({"status": "ready"})


@router.api_route("/models/{name}", methods=_FORWARDED, include_in_schema=False)
@router.api_route("/models/{name}/{path:path}", methods=_FORWARDED, include_in_schema=False)
async def of_a_model(request: Request, catalog: Models, name: str, path: str = "") -> Response:
    """Answers what Serve does not route to the model itself: it is unknown, not deployed, or has just ended."""
    return await forward(request, catalog, name, f"/{path}", request.scope["query_string"])


def _named(request: Request, catalog: Catalog) -> str:
    """Returns the model that the query names; the only one if there is no other.

    Raises:
        InvalidParameterError: None is named, or several.
    """
    given = [name for name in request.query_params.getlist("model") if name]
    if not given and len(catalog.names) == 1 and known(catalog.names):
        return catalog.names[0]
    if len(given) != 1:
        names = told(catalog.names, "the models that the key is for")
        several = f", given {len(given)} names" if given else ""
        raise InvalidParameterError(f"model: expected one of {names}; send it as ?model=NAME{several}")
    return given[0]


def _without_model(request: Request) -> bytes:
    """Returns the query without the parameter that is the catalogue's own."""
    return urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "model"]).encode()
