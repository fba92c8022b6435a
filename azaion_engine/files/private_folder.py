"""Private folder: a folder for sockets and the like, which only this user may enter."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from azaion_engine.errors import ConfigurationError


def private_folder(*names: str, base: Path | None = None) -> Path:
    """Returns `azaion-<user id>` in the folder for temporary files, or a folder in it; created if missing.

    Args:
        *names: Names of the folders in it, one inside the other.
        base: Folder that it is in; default: the system's for temporary files.

    Raises:
        ConfigurationError: One of the folders is not this user's alone, or cannot be made.
    """
    try:
        folder = base or Path(tempfile.gettempdir())
    except OSError as error:  # every folder that Python tries is full or cannot be written to
        raise ConfigurationError(f"there is no folder for temporary files: {error.strerror}; set TMPDIR") from error
    for name in (f"azaion-{os.getuid()}", *names):
        folder /= name
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{folder} cannot be made: {error.strerror}; set TMPDIR to another folder"
            ) from error
        status = folder.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
            raise ConfigurationError(f"{folder} is not a folder of this user alone; remove it, or set TMPDIR")
    return folder
