"""Output files: checked before anything is written, never in place of an input, and whole or not there at all."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, TextIO, cast

from azaion_engine.errors import InvalidParameterError
from azaion_engine.files.names import printable

_WRITERS = 16
"""Threads of `write_soon`: each waits for the disk, which brings several files there at once."""
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_DEVICES = ("/dev", "/dev/fd")
"""Folders of devices and open files; those below /dev/shm are files as elsewhere."""
_REPLACES = "--overwrite replaces it"


class SafeOutput:
    """Writes the output files of one run.

    A file is written under a temporary name in its folder, brought to the disk, and renamed when it is complete. No
    input is ever replaced; another file that exists already only with `overwrite`, which is tested once more when the
    file is renamed. Devices and pipes, such as `/dev/null`, are written directly.
    """

    def __init__(self, inputs: Iterable[str | os.PathLike[str]] = (), *, overwrite: bool = False) -> None:
        """Looks the inputs up.

        Args:
            inputs: Files that the run reads; those that do not exist are ignored.
            overwrite: Whether files that exist already may be replaced.
        """
        self._overwrite = overwrite
        self._inputs = {place for path in inputs if (place := _place(path)) is not None}
        self._planned: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._writing: deque[Future[None]] = deque()

    def plan(self, path: Path) -> None:
        """Checks a file that will be written; nothing is created.

        Raises:
            InvalidParameterError: It is an input, exists already, is a folder, or is planned for another output too.
            OSError: Its folder does not exist, is no folder, or cannot be written to.
        """
        self._check(path)
        real = os.path.realpath(path)
        if real in self._planned:
            raise InvalidParameterError(f"output: two outputs would be {printable(path)!r}")
        self._planned.add(real)
        _check_folder(path.parent)

    def plan_in(self, folder: Path, names: Iterable[str], numbered: Iterable[tuple[str, str]] = ()) -> None:
        """Checks files that will be written into a folder, which need not exist yet.

        Args:
            folder: The folder.
            names: Relative paths of the files.
            numbered: Starts and suffixes of files whose number is not known: relative path, `_`, six digits or more,
                suffix.

        Raises:
            InvalidParameterError: As for `plan`.
            OSError: The folder, or the nearest one above that exists, is no folder or cannot be written to.
        """
        nearest = folder
        while not os.path.lexists(nearest) and nearest.parent != nearest:
            nearest = nearest.parent
        _check_folder(nearest)
        found = [folder / name for name in names]
        listed: dict[Path, list[str]] = {}
        for start, suffix in numbered:
            path = folder / start
            if path.parent not in listed:
                listed[path.parent] = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
            fits = re.compile(re.escape(path.name) + r"_\d{6,}" + re.escape(suffix))
            found += [path.parent / name for name in listed[path.parent] if fits.fullmatch(name)]
        for path in found:
            self._check(path)
            real = os.path.realpath(path)
            if real in self._planned:
                raise InvalidParameterError(f"output: two outputs would be {printable(path)!r}")
            self._planned.add(real)

    @contextmanager
    def text(self, path: Path) -> Iterator[TextIO]:
        """Yields a UTF-8 file for writing; it appears at the end of the block, and not at all after an error."""
        with self._open(path, "w", encoding="utf-8", newline="") as file:
            yield cast("TextIO", file)

    def write(self, path: Path, data: bytes) -> None:
        """Writes a whole file; creates the folders that it lies in.

        Raises:
            InvalidParameterError: It is an input or exists already.
            OSError: It cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open(path, "wb") as file:
            file.write(data)

    def write_soon(self, path: Path, data: bytes) -> None:
        """Writes one of many whole files in a thread; for one caller's thread. `settle` waits for the last ones.

        Raises:
            InvalidParameterError: An earlier one is an input or exists already.
            OSError: An earlier one cannot be written.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_WRITERS, "write")
        self._writing.append(self._pool.submit(self.write, path, data))
        if len(self._writing) > 2 * _WRITERS:
            self._writing.popleft().result()

    def settle(self) -> None:
        """Waits until all files of `write_soon` are there; raises as it does."""
        while self._writing:
            self._writing.popleft().result()

    @contextmanager
    def _open(self, path: Path, mode: str, **how: Any) -> Iterator[IO[Any]]:
        self._check(path)
        if _is_special(path):
            with _named(path), open(path, mode, **how) as file:
                yield file
            return
        target = os.path.realpath(path)  # a link stays one
        temporary = os.path.join(os.path.dirname(target), f".azaion-{token_hex(8)}.part")
        try:
            with _named(path), open(temporary, mode.replace("w", "x"), **how) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self._put(temporary, target)
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _put(self, temporary: str, target: str) -> None:
        if not self._overwrite:
            try:
                os.link(temporary, target)  # unlike a rename, fails where there is a file by now
                return
            except FileExistsError:
                raise InvalidParameterError(f"output: {printable(target)!r} exists by now; {_REPLACES}") from None
            except OSError:  # a file system without hard links
                self._check(Path(target))
        else:
            with suppress(OSError):  # who may read a file stays as it is
                os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)

    def _check(self, path: Path) -> None:
        if _is_special(path):
            return
        if _place(path) in self._inputs:
            raise InvalidParameterError(f"output: {printable(path)!r} is an input; inputs are never replaced")
        if path.is_dir():
            raise InvalidParameterError(f"output: expected a file, but {printable(path)!r} is a folder")
        if not self._overwrite and os.path.lexists(path):
            raise InvalidParameterError(f"output: {printable(path)!r} exists already; {_REPLACES}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Adds the output's name to an error of writing, which has none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _OF_WRITING:
            error.filename = str(path)
        raise


def _place(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Returns what identifies a file whatever its path is, None where there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _is_special(path: Path) -> bool:
    """Whether it is a device, a pipe or a socket, which are written and not replaced."""
    if str(path.parent) in _DEVICES:  # /dev/stdout may be a plain file
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise FileNotFoundError(f"no such folder for an output: {printable(folder)!r}")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder for outputs, but {printable(folder)!r} is a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"outputs cannot be written to {printable(folder)!r}: permission denied")
