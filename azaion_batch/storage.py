"""Storage: folders on disks and in buckets under one form.

Buckets by pyarrow's file systems, not fsspec: they come in the wheel that Ray Data needs anyway, S3, Google Cloud
Storage and Azure, and read without Python's lock. Disks by Python's own: pyarrow takes no name that is not UTF-8.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import parse_qs

from azaion_engine.errors import ConfigurationError, InvalidParameterError, PictureTooLargeError, quote, reason
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
_SERVERS = {"endpoint_override", "account_name", "blob_storage_authority", "dfs_storage_authority"}
"""Options of pyarrow's file systems that tell whose bucket it is: names of buckets are one server's or account's."""
_AHEAD = 1 << 20
"""Bytes that are read from an object at once, where GDAL asks for some kilobytes after each other."""


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

    def __post_init__(self) -> None:
        """Checks the path; raises InvalidParameterError if it is not UTF-8 and in a bucket."""
        if not self.is_local and printable(self.path) != self.path:
            raise InvalidParameterError(f"expected an address in UTF-8, given {quote(printable(self.address))}")

    @classmethod
    def of(cls, text: str) -> Place:
        """Reads a path or an address; `~` is expanded and a local path made absolute.

        Args:
            text: A path, or `s3://`, `gs://`, `az://` with bucket, path, and options of pyarrow's file system after a
                question mark, such as `endpoint_override=host:port&scheme=http`.

        Raises:
            InvalidParameterError: An address of another scheme, or without a bucket, or with a secret, or one that
                pyarrow's S3 cannot open.
        """
        if match := _REMOTE.fullmatch(text):
            scheme, bucket, path, options = match.groups()
            if ":" in bucket.rpartition("@")[0] or _SECRETS & parse_qs((options or "?")[1:]).keys():
                # Not quoted: the message may go to a log.
                raise InvalidParameterError(
                    f"{scheme}:// with a key in the address, which results would name; expected it in the environment, "
                    "e.g. AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"
                )
            path = path.rstrip("/")
            if scheme == "s3" and "//" in f"/{path}":
                raise InvalidParameterError(
                    f"expected an address with one / between its parts, given {quote(without_secrets(text))}"
                )
            return cls(f"{scheme}://{bucket}{options or ''}", path)
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

    @property
    def server(self) -> dict[str, list[str]]:
        """The options that tell which server or account has the bucket; empty for the provider's own."""
        options = parse_qs(self.root.partition("?")[2])
        return {name: options[name] for name in sorted(_SERVERS & options.keys())}

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
        with self.open() as file:
            _check_size(file.size(), most)
            return bytes(file.read())

    def open(self) -> Any:
        """Returns the file, open for reading: pyarrow's of a bucket, Python's of a disk; raises OSError."""
        if self.is_local:
            return open(self.path, "rb")
        system, base = file_system(self.root)
        with _refusals():
            return system.open_input_file(f"{base}/{self.path}")

    def stream(self) -> BinaryIO:
        """Returns an object as Python's file, which reads ahead what `_AHEAD` says; raises OSError."""
        return io.BufferedReader(self.open(), _AHEAD)

    def stamp(self) -> tuple[int, int]:
        """Returns size in bytes and time of the last change, in ns, 0 if it is not known; raises OSError."""
        if self.is_local:
            try:
                about = os.stat(self.path)
            except ValueError as error:  # a NUL in the path
                raise FileNotFoundError(reason(error)) from error
            is_file, size, changed = stat.S_ISREG(about.st_mode), about.st_size, about.st_mtime_ns
        else:
            info = self._info()
            is_file, size, changed = info.is_file, info.size, info.mtime_ns
        if not is_file:
            raise FileNotFoundError(f"no such file: {printable(self.address)!r}")
        return int(size), int(changed or 0)

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
        if not self.is_file():
            return
        if self.is_local:
            os.remove(self.path)
        else:
            system, base = file_system(self.root)
            system.delete_file(f"{base}/{self.path}")

    def files(self, *, recursive: bool = True) -> Iterator[Listed]:
        """Yields the files of a folder in order of their paths; none of one that does not exist.

        Raises:
            OSError: It cannot be listed.
        """
        if self.is_local:
            yield from sorted(_files_below(self.path, recursive))
            return
        import pyarrow.fs as pa_fs

        system, base = file_system(self.root)
        selector = pa_fs.FileSelector(
            "/".join(part for part in (base, self.path) if part), recursive=recursive, allow_not_found=True
        )
        found = [info for info in system.get_file_info(selector) if info.is_file]
        for info in sorted(found, key=lambda info: info.path):
            yield Listed(info.path[len(base) + 1 :], info.size)

    def is_file(self) -> bool:
        """Returns whether there is a file; raises OSError if that cannot be found out."""
        return os.path.isfile(self.path) if self.is_local else bool(self._info().is_file)

    def size(self) -> int:
        """Returns the file's size in bytes; raises OSError if there is none."""
        return self.stamp()[0]

    def _info(self) -> Any:
        """Returns what a bucket tells of it."""
        system, base = file_system(self.root)
        with _refusals():
            return system.get_file_info(f"{base}/{self.path}")


@contextmanager
def _refusals() -> Iterator[None]:
    """Makes an OSError of what pyarrow raises for names that it lists and does not take, such as S3's with `//`."""
    try:
        yield
    except ValueError as error:
        raise FileNotFoundError(str(error)) from error


def without_secrets(text: str) -> str:
    """Returns an address without its options and without what is before an `@`; a path as it is."""
    scheme, mark, rest = text.partition("://")
    return f"{scheme}{mark}{re.sub('^[^/]*@', '', rest.partition('?')[0])}" if mark else text


def is_remote(text: str) -> bool:
    """Returns whether a text is an address in a bucket."""
    return "://" in text


def _files_below(folder: str, recursive: bool) -> Iterator[Listed]:
    """Yields the files of a folder on a disk; each folder once, whatever links lead to it."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    seen: set[tuple[int, int]] = set()
    for at, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        about = os.stat(at)
        known = (about.st_dev, about.st_ino) in seen
        seen.add((about.st_dev, about.st_ino))
        folders[:] = [] if known or not recursive else sorted(folders)
        for name in () if known else names:
            path = os.path.join(at, name)
            with suppress(OSError):  # a link that leads nowhere, or a file that a writer has renamed
                about = os.stat(path)
                if stat.S_ISREG(about.st_mode):
                    yield Listed(path, about.st_size)


def _check_size(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise PictureTooLargeError(f"the picture has {size} bytes, at most {most} are accepted")


@lru_cache(maxsize=64)
def file_system(root: str) -> tuple[Any, str]:
    """Returns pyarrow's file system of a bucket's root, and the start of the paths in it.

    Raises:
        ConfigurationError: It cannot be opened, or the Azure account is not told.
    """
    import pyarrow as pa
    import pyarrow.fs as pa_fs

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
