"""Storage: folders on disks and in buckets under one form, by pyarrow's file systems.

pyarrow, not fsspec: it brings S3, Google Cloud Storage and Azure in the wheel that Ray Data needs anyway, and reads
without Python's lock.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import parse_qs

from azaion_engine.errors import ConfigurationError, InvalidParameterError, PictureTooLargeError, quote
from azaion_engine.files.names import printable
from azaion_engine.files.safe_output import SafeOutput
from azaion_engine.system.whole_file import read_whole

LOCAL = ""
"""Root of a place on this machine's disks."""

_REMOTE = re.compile(r"(s3|gs|gcs|az|abfss?)://([^/?]+)/?([^?]*)(\?.*)?")
_SECRETS = {
    "access_key",
    "secret_key",
    "session_token",
    "account_key",
    "sas_token",
    "client_secret",
    "json_credentials",
}
"""Options of pyarrow's file systems that are secrets: the plan of a job has the options of its addresses."""
_AHEAD = 1 << 20
"""Bytes that are read from an object at once, where GDAL asks for some kilobytes after each other."""
_MAGIC = re.compile(r"[*?\[]")


class Listed(NamedTuple):
    """A file that a listing found.

    Attributes:
        path: Its path below the root.
        size: In bytes.
    """

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder, on a disk or in a bucket.

    Attributes:
        root: `LOCAL`, or the bucket's address with its options, such as `s3://bucket?region=eu-central-1`.
        path: Path on the disk, or below the bucket.
    """

    root: str
    path: str

    @classmethod
    def of(cls, text: str) -> Place:
        """Reads a path or an address; `~` is expanded and a local path made absolute.

        Args:
            text: A path, or `s3://`, `gs://`, `az://` with bucket, path, and options of pyarrow's file system after a
                question mark, such as `endpoint_override=host:port&scheme=http`.

        Raises:
            InvalidParameterError: An address of another scheme, or without a bucket, or with a secret.
        """
        if match := _REMOTE.fullmatch(text):
            scheme, bucket, path, options = match.groups()
            if ":" in bucket.rpartition("@")[0] or _SECRETS & parse_qs((options or "?")[1:]).keys():
                # Not quoted: the message may go to a log.
                raise InvalidParameterError(
                    f"{scheme}:// with a key in the address, which results would name; expected it in the environment, "
                    "e.g. AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"
                )
            return cls(f"{scheme}://{bucket}{options or ''}", path.rstrip("/"))
        if not text.strip():
            raise InvalidParameterError(f"expected a path or an address, given {text!r}")
        if "://" in text:
            raise InvalidParameterError(f"expected a path, or s3://, gs:// or az:// with a bucket, given {quote(text)}")
        return cls(LOCAL, os.path.abspath(os.path.expanduser(text)))

    @property
    def is_local(self) -> bool:
        """Whether it lies on a disk of this machine."""
        return self.root == LOCAL

    @property
    def address(self) -> str:
        """Its path, or its address without options: what names a source in results."""
        return self.path if self.is_local else f"{self.root.partition('?')[0]}/{self.path}"

    def __truediv__(self, name: str) -> Place:
        return Place(self.root, f"{self.path.rstrip('/')}/{name}" if self.path else name)

    def read(self, most: int | None = None) -> bytes:
        """Returns the whole file.

        Args:
            most: Bytes above which it is not read.

        Raises:
            OSError: It cannot be read.
            PictureTooLargeError: It has more bytes.
        """
        if self.is_local:
            return read_whole(self.path, partial(_check_size, most=most))
        system, base = file_system(self.root)
        with system.open_input_file(f"{base}/{self.path}") as file:
            _check_size(file.size(), most)
            return bytes(file.read())

    def open(self) -> Any:
        """Returns the file as pyarrow's random-access file; raises OSError."""
        system, base = file_system(self.root)
        return system.open_input_file(f"{base}/{self.path}" if base else self.path)

    def stream(self) -> BinaryIO:
        """Returns the file as Python's, which reads ahead what `_AHEAD` says; raises OSError."""
        return io.BufferedReader(self.open(), _AHEAD)

    def stamp(self) -> tuple[int, int]:
        """Returns size in bytes and time of the last change, in ns, 0 if it is not known; raises OSError."""
        import pyarrow.fs as pa_fs

        system, base = file_system(self.root)
        info = system.get_file_info(f"{base}/{self.path}" if base else self.path)
        if info.type != pa_fs.FileType.File:
            raise FileNotFoundError(f"no such file: {printable(self.address)!r}")
        return int(info.size), int(info.mtime_ns or 0)

    def write(self, data: bytes) -> None:
        """Writes a whole file, which is there complete or not at all; replaces one of its name.

        A disk gets it under another name first; a bucket shows an object only when all of it has arrived.

        Raises:
            OSError: It cannot be written.
        """
        if self.is_local:
            SafeOutput(overwrite=True).write(Path(self.path), data)
            return
        system, base = file_system(self.root)
        with system.open_output_stream(f"{base}/{self.path}") as stream:
            stream.write(data)

    def remove(self) -> None:
        """Removes the file, if there is one; raises OSError."""
        if self.is_file():
            system, base = file_system(self.root)
            system.delete_file(f"{base}/{self.path}" if base else self.path)

    def files(self, *, recursive: bool = True) -> Iterator[Listed]:
        """Yields the files of a folder in order of their paths; none of one that does not exist.

        Raises:
            OSError: It cannot be listed.
        """
        import pyarrow.fs as pa_fs

        system, base = file_system(self.root)
        folder = "/".join(part for part in (base, self.path) if part) if base else self.path
        selector = pa_fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
        found = [info for info in system.get_file_info(selector) if info.type == pa_fs.FileType.File]
        for info in sorted(found, key=lambda info: info.path):
            yield Listed(info.path[len(base) + 1 :] if base else info.path, info.size)

    def is_file(self) -> bool:
        """Returns whether there is a file; raises OSError if that cannot be found out."""
        import pyarrow.fs as pa_fs

        system, base = file_system(self.root)
        info = system.get_file_info(f"{base}/{self.path}" if base else self.path)
        return bool(info.type == pa_fs.FileType.File)

    def size(self) -> int:
        """Returns the file's size in bytes; raises OSError if there is none."""
        return self.stamp()[0]


def without_secrets(text: str) -> str:
    """Returns an address without its options and without what is before an `@`; a path as it is."""
    scheme, mark, rest = text.partition("://")
    return f"{scheme}{mark}{re.sub('^[^/]*@', '', rest.partition('?')[0])}" if mark else text


def is_remote(text: str) -> bool:
    """Returns whether a text is an address in a bucket."""
    return "://" in text


def matching(place: Place) -> Iterator[Listed]:
    """Yields the files of a bucket that a pattern matches, in order; `**` stands for any folders.

    Args:
        place: Its path is the pattern.
    """
    parts = place.path.split("/")
    fixed: list[str] = []
    for part in parts[:-1]:
        if _MAGIC.search(part):
            break
        fixed.append(part)
    patterns = [part if part == "**" else translate(part) for part in parts]
    for file in Place(place.root, "/".join(fixed)).files():
        if _fits(file.path.split("/"), patterns):
            yield file


def has_pattern(place: Place) -> bool:
    """Returns whether the path of a place in a bucket is a pattern."""
    return _MAGIC.search(place.path) is not None


def _fits(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return _fits(names, patterns[1:]) or (bool(names) and _fits(names[1:], patterns))
    return bool(names) and re.match(patterns[0], names[0]) is not None and _fits(names[1:], patterns[1:])


def _check_size(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise PictureTooLargeError(f"the picture has {size} bytes, at most {most} are accepted")


@lru_cache(maxsize=64)
def file_system(root: str) -> tuple[Any, str]:
    """Returns pyarrow's file system of a root, and the start of the paths in it.

    Raises:
        ConfigurationError: It cannot be opened, or the Azure account is not told.
    """
    import pyarrow as pa
    import pyarrow.fs as pa_fs

    if root == LOCAL:
        return pa_fs.LocalFileSystem(), ""
    try:
        if root.startswith("az://"):
            return _azure(root)
        system, base = pa_fs.FileSystem.from_uri(root)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"{root}: {error}") from error
    return system, base


def _azure(root: str) -> tuple[Any, str]:
    """Opens `az://container`, the form of fsspec's adlfs; its account is in AZURE_STORAGE_ACCOUNT or the options.

    Its secret is in AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, else Azure's default credentials are tried.
    """
    import pyarrow.fs as pa_fs

    address, _, query = root.partition("?")
    options = {key: values[-1] for key, values in parse_qs(query).items()}
    account = options.pop("account_name", None) or os.environ.get("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise ConfigurationError(f"{root}: set AZURE_STORAGE_ACCOUNT, or add ?account_name=…")
    known = {"account_key": "AZURE_STORAGE_KEY", "sas_token": "AZURE_STORAGE_SAS_TOKEN"}
    secrets = {name: value for name, variable in known.items() if (value := os.environ.get(variable))}
    try:
        return pa_fs.AzureFileSystem(account, **secrets, **options), address.partition("://")[2]
    except (TypeError, ValueError) as error:  # an option that pyarrow does not know, or one beside another
        raise ConfigurationError(f"{address}: {error}") from error
