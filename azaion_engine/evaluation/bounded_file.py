"""Text files of limited size."""

from __future__ import annotations

from pathlib import Path

from azaion_engine.errors import InvalidParameterError, reason


def read_text(path: Path, limit: int) -> str:
    """Reads a UTF-8 text file, with or without byte order mark.

    Args:
        path: A regular file: a pipe or a device would never end.
        limit: Largest size, in bytes.

    Raises:
        InvalidParameterError: The file cannot be read, is larger, or is not UTF-8.
    """
    try:
        if not path.is_file():
            raise InvalidParameterError(f"{path}: no such file")
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise InvalidParameterError(f"{path}: cannot be read: {reason(error)}") from error
    if len(data) > limit:
        raise InvalidParameterError(f"{path}: larger than {limit // 2**20} MiB, the limit for such a file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidParameterError(f"{path}, line {line}: not UTF-8") from error
