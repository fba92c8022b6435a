"""Form: charsets, and what a full folder for temporary files does to a form."""

from __future__ import annotations

import asyncio
import codecs
import tempfile

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from deployments.errors import NoSpaceError, status_of
from deployments.frontends.detect.form import read_form
from deployments.settings import ServiceSettings


def form_of(content: bytes, name: bytes = b"a.png", charset: bytes = b"") -> Request:
    head = b'Content-Disposition: form-data; name="p"; filename="%b"' % name
    part = b"--xy\r\n%b\r\n\r\n%b\r\n--xy--\r\n" % (head, content)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": part, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=xy" + charset)]
    return Request({"type": "http", "method": "POST", "path": "/detect", "headers": headers}, receive)


def test_a_folder_for_temporary_files_that_takes_nothing_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/self/no such folder")
    small = asyncio.run(read_form(form_of(b"picture"), ServiceSettings()))
    assert small.pictures[0].filename == "a.png"
    with pytest.raises(
        NoSpaceError, match=r"folder for temporary files cannot take the pictures.*No such file"
    ) as full:
        asyncio.run(read_form(form_of(bytes(2_000_000)), ServiceSettings()))
    assert status_of(full.value) == 503, "another replica or a later attempt may have space"


@pytest.mark.parametrize(
    ("charset", "name"),
    [(b"", "é.png"), (b"; charset=UTF-8", "é.png"), (b'; charset="us-ascii"', "a.png"), (b"; charset=ISO-8859-1", "é")],
)
def test_names_are_read_in_the_charsets_that_clients_send(charset: bytes, name: str) -> None:
    encoded = name.encode("latin-1" if b"8859" in charset else "utf-8")
    form = asyncio.run(read_form(form_of(b"picture", encoded, charset), ServiceSettings()))
    assert form.pictures[0].filename == name


@pytest.mark.parametrize("charset", ["idna", "punycode", "unicode_escape", "undefined", "nobody-knows-this-one"])
def test_another_charset_is_refused_and_not_even_looked_up(charset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(codecs, "lookup", asked.append)  # which keeps every unknown name
    with pytest.raises(HTTPException, match=f"expected one of the charsets utf-8, .*given '{charset}'") as refused:
        asyncio.run(read_form(form_of(b"picture", charset=b"; charset=" + charset.encode()), ServiceSettings()))
    assert (refused.value.status_code, asked) == (400, [])
