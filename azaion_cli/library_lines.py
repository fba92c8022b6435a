"""Lines that libraries write to stderr themselves, in the shape of `--json`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from azaion_cli.console import say_log

_STDERR = 2
_END_WAIT_S = 2.0


@contextmanager
def library_lines_as_json() -> Iterator[None]:
    """Turns what libraries write to file descriptor 2, and Python's warnings, into JSON objects on stderr.

    OpenCV, FFmpeg, libtiff and ONNX Runtime write there from C, past `sys.stderr`.
    """
    sys.stderr.flush()
    real = os.dup(_STDERR)
    read_end, write_end = os.pipe()
    python_stderr, show = sys.stderr, warnings.showwarning
    if _is_descriptor(python_stderr):
        sys.stderr = open(real, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.dup2(write_end, _STDERR)
    os.close(write_end)
    warnings.showwarning = _show_warning
    reader = Thread(target=_reshape, args=(read_end,), name="library lines", daemon=True)
    reader.start()
    try:
        yield
    finally:
        warnings.showwarning = show
        os.dup2(real, _STDERR)  # closes the pipe: the thread reads what is left, and ends
        reader.join(_END_WAIT_S)
        sys.stderr.flush()
        sys.stderr = python_stderr
        os.close(real)


def _is_descriptor(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == _STDERR)
    except (OSError, ValueError, AttributeError):  # replaced by a test, or closed
        return False


def _reshape(read_end: int) -> None:
    with open(read_end, encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            if text := line.strip():
                say_log("warning", text, as_json=True)


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    say_log("warning", f"{category.__name__}: {message}", as_json=True)
