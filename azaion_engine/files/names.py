"""Names of files, and JSON with them, as text that every output can hold."""

from __future__ import annotations

import os
import re
from typing import TextIO

_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(path: str | os.PathLike[str]) -> str:
    r"""Returns a path, or a text with one in it, for outputs and messages.

    On Linux a file's name is bytes. Python keeps those that are not UTF-8 as lone surrogates (PEP 383), which no JSON,
    CSV or terminal can hold; here each such byte is written as `\xe9`.
    """
    return _SURROGATE.sub(_escaped, os.fspath(path))


def suffix_of(path: str) -> str:
    """Returns the suffix of a path in lower case, such as `.jpg`, that `PurePath.suffix` finds ten times as slowly."""
    start, dot = path.rfind("/") + 1, path.rfind(".")
    return path[dot:].lower() if start < dot < len(path) - 1 else ""


def needs_ascii(stream: TextIO) -> bool:
    """Returns whether JSON for a stream is written in ASCII: the encoding of a terminal or pipe may lack letters."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
