"""Output: the file of the chosen configuration, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str, *, replace: bool) -> None:
    """Writes a file that other processes see only when it is complete.

    Args:
        path: The file.
        text: Its content.
        replace: Whether an existing file is replaced.

    Raises:
        FileExistsError: The file exists, and `replace` is false.
        OSError: The folder cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # as a file made by open(); a temporary one is for its owner only
        if replace:
            os.replace(name, path)
        else:
            os.link(name, path)  # unlike a rename, it never replaces
    finally:
        Path(name).unlink(missing_ok=True)
