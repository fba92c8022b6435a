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
        ConfigurationError: One of the folders is not this user's alone.
    """
    folder = base or Path(tempfile.gettempdir())
    for name in (f"azaion-{os.getuid()}", *names):
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
            raise ConfigurationError(f"{folder} is not a folder of this user alone; remove it, or set TMPDIR")
    return folder
