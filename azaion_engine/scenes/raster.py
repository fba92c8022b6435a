"""Raster: opens a TIFF through rasterio (GDAL) without following what the file or its name could lead to.

rasterio, not tifffile: one wheel reads windows, overviews, masks and every compression, and knows coordinate systems.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from azaion_engine.errors import (
    QUOTED,
    PictureError,
    PictureTooLargeError,
    UndecodablePictureError,
    UnsupportedPictureError,
    reason,
)
from azaion_engine.extras import import_extra
from azaion_engine.files.names import printable

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

MOST_BLOCK_BYTES = 1 << 28
"""Maximum decoded bytes of one strip or tile, all bands: a window cannot be read without its whole blocks."""
MOST_BANDS = 1 << 10
"""Maximum bands; hyperspectral cameras have some hundreds."""
MOST_OVERVIEWS = 32
"""Maximum overviews: each is half as large as the one before, so that a real file has 30 at most."""
CACHE_BYTES = 1 << 29
"""GDAL's cache of decoded blocks: enough for the strips under one row of tiles, 60,000 × 2,500 pixels of RGB."""

_OBJECT = "object.tif"
"""Name of an object for GDAL."""
_MISSING = "due to missing codec"
"""What GDAL says of a compression that it was built without (frmts/gtiff/geotiff.cpp)."""
_DAMAGED_JPEG = re.compile("Corrupt JPEG data: (?![12] extraneous)|Premature end of JPEG")
"""What libjpeg says where data are missing, or left over by more than a byte or two of padding (jerror.h). libtiff and
GDAL make a warning of it, and some pixels."""
_PROBE, _PROBED = 32, (0.0, 0.25, 0.5, 0.75, 1.0)
"""Side in pixels of the parts of an overview that tell whether it is empty, and where they lie across and down."""

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OPTIONS = {
    # Files beside the picture (.ovr, .msk, .aux.xml, .tfw) are not read: the picture alone decides what its answer is.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_NUM_THREADS": "1",  # the cores belong to the network
    # Else GDAL shows a compressed picture of one strip as lines, and unpacks it from its beginning for each window.
    "GDAL_ENABLE_TIFF_SPLIT": "NO",
}
_AS_LINES = {"GDAL_ENABLE_TIFF_SPLIT": "YES"}
"""For uncompressed files of one strip, whose lines are where they are."""


def is_tiff(picture: Path | bytes) -> bool:
    """Returns whether a file, or bytes, begin with the signature of a TIFF or BigTIFF; False if it cannot be read.

    A pipe or a device is none: it is not opened, since the bytes would be lost to who reads it.
    """
    if isinstance(picture, bytes):
        return picture[:4] in _SIGNATURES
    if not picture.is_file():
        return False
    try:
        with picture.open("rb") as file:
            return file.read(4) in _SIGNATURES
    except OSError:
        return False


@contextmanager
def environment(**more: str) -> Iterator[None]:
    """Sets GDAL's options for this thread; every call of rasterio belongs into it.

    Args:
        **more: Further options by name.

    Raises:
        MissingDependencyError: rasterio is not installed; the message names the extra.
    """
    rasterio = import_rasterio()
    from rasterio.session import DummySession

    # Else rasterio opens a session of boto3 in each call, a twentieth of a second, where AWS_ACCESS_KEY_ID is set.
    with rasterio.Env(session=DummySession(), **{**_OPTIONS, **more}):
        yield


def import_rasterio() -> Any:
    """Imports and returns rasterio.

    Raises:
        MissingDependencyError: It is not installed; the message names the extra.
    """
    return import_extra("rasterio", "rasterio, which reads scenes and maps,", "pip install 'azaion-engine[geo]'")


def open_file(path: Path, overviews: bool = True) -> DatasetReader:
    """Opens a TIFF file; reads its first directory and no pixel.

    Args:
        path: A local file. GDAL's virtual paths and URLs are none.
        overviews: Whether its internal overviews are used.

    Raises:
        PictureError: No such file, or not a TIFF.
        PictureTooLargeError: A strip or tile, or the number of bands, exceeds the bounds of this module.
        UndecodablePictureError: The file is damaged.
        MissingDependencyError: rasterio is not installed.
    """
    try:
        local = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise PictureError(f"cannot be read: {reason(error)}") from error
    # An absolute path is no URL and no GDAL prefix such as GTIFF_DIR:; a folder /vsi… would be a virtual file system.
    if not local.is_file() or str(local).startswith("/vsi"):
        raise PictureError("cannot be read: it is no local file")
    if not is_tiff(local):
        raise UnsupportedPictureError("not a TIFF; scenes are read from TIFF, BigTIFF, GeoTIFF and COG")
    dataset = _open(local, overviews)
    try:
        if dataset.compression is None and dataset.block_shapes[0] == dataset.shape:
            dataset.close()
            dataset = _open(local, overviews, **_AS_LINES)
        check_layout(dataset)
    except BaseException:
        dataset.close()
        raise
    return dataset


def open_object(open_: Callable[[], BinaryIO], overviews: bool = True) -> DatasetReader:
    """Opens a TIFF that is no local file, such as an object in a bucket; reads its first directory and no pixel.

    GDAL reads the ranges that it needs, and nothing else through the function: no files beside it.

    Args:
        open_: Opens it for reading; called more than once, from any thread.
        overviews: Whether its internal overviews are used.

    Raises:
        PictureError: It cannot be read, or is not a TIFF.
        PictureTooLargeError: As `open_file`, like the others.
        UndecodablePictureError: The file is damaged.
        MissingDependencyError: rasterio is not installed.
    """
    rasterio = import_rasterio()

    def opener(name: str, mode: str = "rb") -> BinaryIO:
        if name != _OBJECT or mode not in ("r", "rb"):
            raise FileNotFoundError(name)
        return open_()

    try:
        with open_() as file:
            head = file.read(4)
    except OSError as error:
        raise PictureError(f"cannot be read: {reason(error)}") from error
    if head not in _SIGNATURES:
        raise UnsupportedPictureError("not a TIFF; scenes are read from TIFF, BigTIFF, GeoTIFF and COG")
    with environment(), translated():
        dataset: DatasetReader = rasterio.open(_OBJECT, driver="GTiff", opener=opener, **_wanted(overviews))
    try:
        check_layout(dataset)
    except BaseException:
        dataset.close()
        raise
    return dataset


def _open(path: Path, overviews: bool, **options: str) -> DatasetReader:
    rasterio = import_rasterio()
    with path.open("rb") as file, environment(**options), translated():
        # rasterio takes names in UTF-8 only; for others the open file has a name, by which GDAL opens it anew.
        name = str(path) if printable(path) == str(path) else f"/proc/self/fd/{file.fileno()}"
        dataset: DatasetReader = rasterio.open(name, driver="GTiff", **_wanted(overviews))
    return dataset


def _wanted(overviews: bool) -> dict[str, str]:
    return {} if overviews else {"OVERVIEW_LEVEL": "NONE"}


def overviews_show_scene(dataset: DatasetReader) -> bool:
    """Returns whether the overviews have something of the scene; True without any.

    Some writers leave them empty (`gdaladdo -r none`): the scene would be black where it is shrunk. Where the smallest
    one has only one value and the scene has others, or it cannot be read, they show nothing.
    """
    from rasterio.windows import Window

    with environment():
        factors = dataset.overviews(1)
        if not factors:
            return True
        side = _PROBE * max(factors)
        width, height = min(side, dataset.width), min(side, dataset.height)
        places = [
            (int((dataset.width - width) * x), int((dataset.height - height) * y)) for y in _PROBED for x in _PROBED
        ]
    try:
        with environment(), translated():
            small = [dataset.read(1, window=Window(x, y, width, height), out_shape=(_PROBE, _PROBE)) for x, y in places]
            if any((part != small[0][0, 0]).any() for part in small):
                return True
    except UndecodablePictureError:
        return False
    try:
        with environment(), translated():
            whole = [dataset.read(1, window=Window(x, y, min(_PROBE, width), min(_PROBE, height))) for x, y in places]
    except UndecodablePictureError:
        return False  # neither can be seen; the error comes when the scene is read
    return all((part == small[0][0, 0]).all() for part in whole)


@contextmanager
def opened_bytes(data: bytes) -> Iterator[DatasetReader]:
    """Opens an encoded TIFF in memory, for its header: its blocks are not checked, so that no pixel is to be read.

    Raises:
        UnsupportedPictureError: Not a TIFF.
        UndecodablePictureError: It is damaged.
        MissingDependencyError: rasterio is not installed.
    """
    if not is_tiff(data):
        raise UnsupportedPictureError("not a TIFF")
    import_rasterio()
    from rasterio.io import MemoryFile

    with environment(), translated(), MemoryFile(data) as file, file.open(driver="GTiff") as dataset:
        yield dataset


@contextmanager
def translated() -> Iterator[None]:
    """Turns rasterio's errors and libjpeg's warnings into ours; silences its warning about files without a map.

    Raises:
        UnsupportedPictureError: GDAL was built without the file's compression.
        UndecodablePictureError: Any other error, or a JPEG in the file is damaged.
    """
    import warnings

    from rasterio._err import CPLE_BaseError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings(), _warnings_of_damage() as heard:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except (RasterioError, CPLE_BaseError, ValueError) as error:
            text = str(error.__cause__ or error)[:QUOTED]
            if _MISSING in text:
                codec = text.partition(_MISSING)[2].strip(" .")
                raise UnsupportedPictureError(
                    f"the TIFF's compression {codec} is none that the installed GDAL decodes: write it with another "
                    "one, e.g. gdal_translate -co COMPRESS=DEFLATE"
                ) from error
            raise UndecodablePictureError(f"the TIFF is damaged or truncated: {text}") from error
    if heard.damage:
        raise UndecodablePictureError(f"the TIFF is damaged or truncated: {heard.damage}")


class _Damage(logging.Handler):
    """Keeps libjpeg's first warning of damage in one thread; rasterio logs GDAL's warnings as they come."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.damage = ""
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if threading.get_ident() == self._thread and _DAMAGED_JPEG.search(message):
            self.damage = self.damage or message[:QUOTED]


@contextmanager
def _warnings_of_damage() -> Iterator[_Damage]:
    logger, heard = logging.getLogger("rasterio"), _Damage()
    logger.addHandler(heard)
    try:
        yield heard
    finally:
        logger.removeHandler(heard)


def check_layout(dataset: DatasetReader) -> None:
    """Refuses a dataset that cannot be read in windows of bounded memory.

    Raises:
        PictureTooLargeError: The message names the bound.
    """
    if dataset.count > MOST_BANDS:
        raise PictureTooLargeError(f"the TIFF has {dataset.count} bands, at most {MOST_BANDS} are accepted")
    sample = max(_bytes_of(dtype) for dtype in dataset.dtypes)
    # Whether a block has all bands or one, GDAL keeps those of all bands: the bound is the same.
    for height, width in set(dataset.block_shapes):
        needed = height * width * dataset.count * sample
        if needed > MOST_BLOCK_BYTES:
            raise PictureTooLargeError(
                f"the TIFF's strips or tiles are {width}×{height} pixels, {needed} bytes with all bands; at most "
                f"{MOST_BLOCK_BYTES} are accepted: write it in tiles, e.g. gdal_translate -co TILED=YES"
            )
    if len(dataset.overviews(1)) > MOST_OVERVIEWS:
        raise PictureTooLargeError(f"the TIFF has more than the {MOST_OVERVIEWS} overviews accepted")


def _bytes_of(dtype: str) -> int:
    import numpy as np

    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # GDAL's complex integers
        raise UnsupportedPictureError(f"given {dtype} samples; accepted are whole numbers and floats") from None
