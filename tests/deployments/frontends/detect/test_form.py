"""Form: what a full folder for temporary files does to a form."""

from __future__ import annotations

import asyncio
import tempfile

import pytest
from starlette.requests import Request

from deployments.errors import NoSpaceError, status_of
from deployments.frontends.detect.form import read_form
from deployments.settings import ServiceSettings


def form_of(content: bytes) -> Request:
    part = b'--xy\r\nContent-Disposition: form-data; name="p"; filename="a.png"\r\n\r\n%s\r\n--xy--\r\n' % content

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": part, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=xy")]
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
