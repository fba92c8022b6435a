"""Query: parameters that would have no effect are refused by name; class names are bounded."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from azaion_engine.errors import InvalidParameterError
from deployments.frontends.query import class_names
from tests.deployments.frontends import documented
from tests.deployments.in_process import client, replica
from tests.stand_in import grey_picture

REFUSED = {
    "/model?verbose=1": 422,
    "/page/page.css?v=3": 422,
    "/samples/sample_1.jpg?size=small": 422,
    "/docs?theme=dark": 422,
    "/v2?verbose=1": 400,
    "/v2/models/stand-in?version=1": 400,
    "/v2/models/stand-in/stats?x": 400,
}
TAKEN = ("/?utm_source=mail", "/readyz?verbose", "/healthz?t=1", "/model", "/page/page.css", "/v2", "/docs")


def ask(method: str, path: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with client() as session:
            return await session.request(method, path)

    with replica():
        return asyncio.run(asked())


@pytest.mark.parametrize(("path", "status"), REFUSED.items())
def test_a_parameter_that_has_no_effect_is_refused_by_name(path: str, status: int) -> None:
    answer = ask("GET", path)
    documented.check(answer)
    assert answer.status_code == status
    name = path.partition("?")[2].partition("=")[0]
    assert f"there is no parameter {name!r}" in str(answer.json()["error"])


def test_an_inference_with_a_parameter_is_refused_before_its_body_is_read() -> None:
    answer = ask("POST", "/v2/models/stand-in/infer?timeout=3")
    assert (answer.status_code, "there is no parameter 'timeout'" in answer.json()["error"]) == (400, True)


def test_class_names_are_split_at_commas_and_bounded() -> None:
    assert class_names(["1, 2", "", "car"]) == ["1", " 2", "car"]
    assert class_names([]) is class_names([",", " "]) is None
    assert len(class_names(["a," * 16_384] * 2) or ()) == 32_768
    with pytest.raises(InvalidParameterError, match="classes: expected at most 65536 characters, given 65538"):
        class_names(["a," * 16_384, "a," * 16_385])


def test_a_form_with_class_names_without_end_is_refused() -> None:
    fields = [("classes", (None, "00," * 10_000)) for _ in range(3)]
    picture = ("picture", ("a.png", grey_picture(5)))

    async def asked() -> httpx.Response:
        async with client() as session:
            return await session.post("/detect", files=[*fields, picture])

    with replica():
        answer = asyncio.run(asked())
    assert (answer.status_code, "given 90000" in answer.json()["error"]["message"]) == (422, True)


@pytest.mark.parametrize("path", TAKEN)
def test_the_page_and_probes_take_what_others_add_to_their_address(path: str) -> None:
    assert ask("GET", path).status_code == 200
