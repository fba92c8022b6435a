"""Form: a multipart body: its files are pictures, its other fields are parameters."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from azaion_engine.errors import InvalidParameterError, PictureTooLargeError, quote
from deployments.errors import NoSpaceError
from deployments.frontends.body import stream_body
from deployments.frontends.detect.parameters import NAMES, unknown
from deployments.settings import ServiceSettings

_CHARSETS = ("utf-8", "us-ascii", "iso-8859-1")
"""Charsets of a form's names and values, those that clients send. Python has slower ones, as `idna`, which takes ten
seconds for a megabyte while no other request is answered; and it keeps the name of every unknown one for ever."""


class Form(NamedTuple):
    """A form that was read whole.

    Attributes:
        pictures: Its files, at least one.
        fields: Names and values of its other fields, in the order sent; each name is a parameter's.
    """

    pictures: list[UploadFile]
    fields: list[tuple[str, str]]


def is_form(request: Request) -> bool:
    """Returns whether a request's body is a form with files."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


async def read_form(request: Request, settings: ServiceSettings) -> Form:
    """Reads the form that is a request's body; large files go to the folder for temporary files.

    Raises:
        InvalidParameterError: A part without a file name is no parameter.
        PictureTooLargeError: Too many pictures, or too many bytes altogether.
        NoSpaceError: The folder for temporary files is full or cannot be used.
        HTTPException: 400: the body cannot be read, is cut off, or has no file, or its charset is none of `_CHARSETS`.
    """
    _refuse_charset(request.headers)
    most = settings.pictures_at_once
    stream = _without_preamble(request.headers, stream_body(request, settings.max_picture_bytes * most))
    parser = _WholeForm(request.headers, stream, max_files=most, max_fields=most)
    try:
        form = await parser.parse()
    except _UnknownFieldError as error:
        raise InvalidParameterError(error.message) from None
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise PictureTooLargeError(f"more than {most} pictures in one request") from error
        raise HTTPException(400, f"cannot read the multipart body: {error.message}") from error
    except OSError as error:
        raise NoSpaceError(f"the folder for temporary files cannot take the pictures of a form: {error}") from error
    if not parser.closed:  # else the last picture would silently be missing
        raise HTTPException(400, "the multipart body is cut off: it has no closing boundary")
    pictures = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not pictures:
        raise HTTPException(400, "the multipart body has no file part; send pictures as -F picture=@file.jpg")
    return Form(pictures, [(name, value) for name, value in form.multi_items() if isinstance(value, str)])


class _UnknownFieldError(MultiPartException):
    """A part is neither a file nor a parameter."""


class _WholeForm(MultiPartParser):
    """Multipart parser that records whether the body is complete; Starlette's silently drops a truncated part."""

    closed = False

    def on_headers_finished(self) -> None:
        """Called before a part's content: refuses what would have no effect."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is None and part.field_name not in NAMES:
            raise _UnknownFieldError(
                f"{unknown(part.field_name)}; a picture's part needs a file name, as -F picture=@file.jpg gives it"
            )

    def on_end(self) -> None:
        """Called at the closing boundary."""
        self.closed = True


def _refuse_charset(headers: Headers) -> None:
    _, parameters = parse_options_header(headers["content-type"])
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in _CHARSETS:
        expected = ", ".join(_CHARSETS)
        raise HTTPException(
            400, f"cannot read the multipart body: expected one of the charsets {expected}, given {quote(charset)}"
        )


async def _without_preamble(headers: Headers, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Drops what comes before the first boundary, which is to be ignored (RFC 2046, 5.1.1); the parser refuses it."""
    _, parameters = parse_options_header(headers["content-type"])
    line = b"\r\n--" + parameters.get(b"boundary", b"")
    held, found = b"\r\n", False  # the body may begin with the boundary
    async for chunk in body:
        if found:
            yield chunk
            continue
        held += chunk
        start = held.find(line)
        found = start >= 0
        if found:
            yield held[start + 2 :]
        else:
            held = held[-len(line) :]
