"""KeysFile: the keys of a file, read again when it changes, and changed by `edit_keys`."""

from __future__ import annotations

import hmac
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from azaion_engine.errors import ConfigurationError, quote, reason
from azaion_engine.system.patient_lock import PatientLock
from deployments.access.keys import Key, digest

logger = logging.getLogger("ray.serve")

REFRESH_S = 1.0
"""Seconds between two looks at the file."""

_LONGEST = 256
"""Characters of a key that are hashed; ours have 47, and a longer text is none."""

_MOST_BYTES = 16 * 2**20
_Stamp = tuple[int, int, int]


class _Content(BaseModel):
    """The file, JSON."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: list[Key]

    @model_validator(mode="after")
    def _distinct(self) -> _Content:
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            if double := next((value for value in values if values.count(value) > 1), None):
                raise ValueError(f"two keys have the {field} {double!r}")
        return self


class KeysFile:
    """Keys by the digest of their text; safe from any thread.

    If the file becomes unreadable, malformed or missing, the last good content stays in force.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads the file.

        Raises:
            ConfigurationError: It is missing, unreadable or malformed; nothing may be served without it.
        """
        self._path = Path(os.path.expanduser(path))
        self._stamp, self._keys = _read(self._path)
        self._fault = ""
        self._closed = threading.Event()
        if not self._keys:
            logger.warning("the keys file %s has no key: every request is refused", self._path)

    def find(self, secret: str) -> Key | None:
        """Returns the key with this text, in force or not; None if there is none."""
        if len(secret) > _LONGEST:
            return None
        given = digest(secret)
        key = self._keys.get(given)
        return key if key is not None and hmac.compare_digest(key.sha256, given) else None

    def listed(self) -> list[Key]:
        """Returns the keys in the file's order."""
        return [*self._keys.values()]

    def refresh(self) -> None:
        """Reads the file again if it changed; on a fault logs it once and keeps the last good content."""
        try:
            if _stamp_of(os.stat(self._path)) == self._stamp:
                self._fault = ""
                return
            self._stamp, self._keys = _read(self._path)
        except (OSError, ConfigurationError) as error:
            if str(error) != self._fault:
                self._fault = str(error)
                logger.error("the keys that were read before stay in force: %s", error)
            return
        self._fault = ""
        logger.info("read %d keys from %s", len(self._keys), self._path)

    def watch(self) -> None:
        """Starts a thread that calls `refresh` every `REFRESH_S`: a file system may block, an event loop must not."""
        threading.Thread(target=self._watch, name="keys file", daemon=True).start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(REFRESH_S):
            self.refresh()


def watched_keys(path: str | Path) -> KeysFile:
    """Returns the keys of a file, which is read again when it changes, until they are closed.

    Raises:
        ConfigurationError: As `KeysFile`.
    """
    keys = KeysFile(path)
    keys.watch()
    return keys


def read_keys(path: Path) -> list[Key]:
    """Returns the keys of a file, in its order; none if it does not exist.

    Raises:
        ConfigurationError: It is unreadable or malformed.
    """
    return [*_read(path)[1].values()] if path.exists() else []


@contextmanager
def edit_keys(path: Path) -> Iterator[list[Key]]:
    """Gives the keys of a file to change; writes them when the block ends without an error.

    Processes that change the file wait for each other, and readers see the old content or the new. The file keeps its
    mode and owner; a new one can be read by its owner alone.

    Raises:
        ConfigurationError: It is malformed, or cannot be read or written.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    lock = PatientLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(lambda waited_s: None)
    except OSError as error:
        raise ConfigurationError(f"the keys file {path} cannot be written: {reason(error)}") from error
    try:
        keys = read_keys(path)
        yield keys
        _write(path, _Content(keys=keys))
    finally:
        lock.release()


def _write(path: Path, content: _Content) -> None:
    text = content.model_dump_json(indent=2, exclude_none=True) + "\n"
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(descriptor, "w") as file:
            if path.exists():
                before = path.stat()
                os.fchmod(file.fileno(), before.st_mode & 0o777)
                with suppress(PermissionError):  # only root may give a file away
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigurationError(f"the keys file {path} cannot be written: {reason(error)}") from error


def _read(path: Path) -> tuple[_Stamp, dict[str, Key]]:
    try:
        with open(path, "rb") as file:
            stamp = _stamp_of(os.fstat(file.fileno()))
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"the keys file {path} cannot be read: {reason(error)}") from error
    if len(text) > _MOST_BYTES:
        raise ConfigurationError(f"the keys file {path} has more than {_MOST_BYTES} bytes")
    try:
        content = _Content.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the whole file"
        raise ConfigurationError(
            f"the keys file {path} is malformed: {where}: {fault['msg']}; `azaion keys` writes it, given "
            f"{quote(fault.get('input'))}"
        ) from error
    return stamp, {key.sha256: key for key in content.keys}


def _stamp_of(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_mtime_ns, found.st_size
