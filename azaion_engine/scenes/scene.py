"""Scene: a TIFF of any size, read in windows as 8-bit RGB."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidParameterError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.readers.stretch import HUGE, find_fills
from azaion_engine.scenes.georeference import FileGeoreference
from azaion_engine.scenes.raster import environment, open_file, open_object, overviews_show_scene, translated
from azaion_engine.scenes.stretching import Stretch
from azaion_engine.tiling.tile import Tile

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_JPEG_BITS = 12
"""Bits a sample of the JPEG variant that most builds of libjpeg leave out."""
_SAMPLE_PIXELS = 1 << 22
"""Pixels on which the stretch is measured, at most."""
_LEAST_SAMPLE_PIXELS = 1 << 16
"""Pixels that an overview needs to stand for the scene."""
_SAMPLE_GRIDS = ((16, 128), (64, 32))
"""Windows across and down, and their size, of a sample without overviews; the second where the first finds nothing."""


class Scene:
    """An open TIFF; thread-safe.

    Attributes:
        path: The file.
        width: In pixels, as stored: the orientation tag is ignored, as in every map.
        height: Likewise.
        bands: Numbers, from 1, of the one (grey) or three (red, green, blue) bands that are read.
        dtype: Type of the samples, e.g. `uint16`.
        nodata: Value of pixels that are not part of the picture; None: there is none.
        overviews: Factors by which the internal overviews are smaller, in rising order.
        georeference: Where the picture lies; None if the file does not say so.
    """

    def __init__(
        self, path: Path, dataset: DatasetReader, bands: Sequence[int] | None, reopen: Callable[[], DatasetReader]
    ) -> None:
        """Takes an open dataset, and how it was opened; see `open`."""
        self.path = path
        self._dataset, self._reopen = dataset, reopen
        self._lock = threading.Lock()  # a dataset serves one thread at a time
        self._stretch: Stretch | None = None
        with environment():
            self.width, self.height = int(dataset.width), int(dataset.height)
            self.bands = _chosen(dataset, bands)
            self.dtype = str(dataset.dtypes[self.bands[0] - 1])
            self.overviews = tuple(sorted(int(factor) for factor in dataset.overviews(1)))
            self._palette = _palette(dataset, self.bands)
            flags = {flag.name for band in self.bands for flag in dataset.mask_flag_enums[band - 1]}
            self._has_mask = bool(flags & {"per_dataset", "alpha"})
            self._nodata = [_of_type(dataset.nodatavals[band - 1], self.dtype) for band in self.bands]
            self._fills: tuple[np.generic, ...] = ()  # values that mean nodata although no tag says so
            self._block = dataset.block_shapes[self.bands[0] - 1]
            structure = dataset.tags(ns="IMAGE_STRUCTURE")
            self._white_is_zero = structure.get("MINISWHITE") == "YES"
            self._bits = int(dataset.tags(self.bands[0], ns="IMAGE_STRUCTURE").get("NBITS", 8))
            jpeg_12 = "JPEG" in structure.get("COMPRESSION", "") and self._bits == _JPEG_BITS
        if jpeg_12 and not self._decodes_first_block():
            raise UnsupportedPictureError(
                "its JPEG tiles have samples of 12 bits, which the installed GDAL does not decode: write it with "
                "another compression, e.g. gdal_translate -co COMPRESS=DEFLATE"
            )
        if np.dtype(self.dtype).kind not in "uif":
            raise UnsupportedPictureError(f"given {self.dtype} samples; accepted are whole numbers and floats")
        self.nodata = None if self._nodata[0] is None else float(self._nodata[0])
        self.georeference = FileGeoreference.of(dataset)

    @classmethod
    def open(cls, path: str | Path, bands: Sequence[int] | None = None) -> Scene:
        """Opens a TIFF, BigTIFF, GeoTIFF or COG; reads no pixels but some of the overviews'.

        Files beside it (`.ovr`, `.msk`, `.tfw`, `.aux.xml`) are not read. Overviews that are empty or damaged are not
        used.

        Args:
            path: A local file.
            bands: Numbers, from 1, of one band or of three; default: those that the file calls red, green and blue,
                else the first three, else the first.

        Raises:
            PictureError: No such file, not a TIFF, damaged, or with samples that are no real numbers.
            PictureTooLargeError: Its strips or tiles are too large to be read in windows, or it has too many bands.
            InvalidParameterError: The file has no such bands.
            MissingDependencyError: rasterio is not installed.
        """
        path = Path(path)
        return cls._of(path, partial(open_file, path), bands)

    @classmethod
    def open_object(cls, name: str, open_: Callable[[], BinaryIO], bands: Sequence[int] | None = None) -> Scene:
        """Opens a TIFF that is no local file, such as an object in a bucket, of which it reads the ranges it needs.

        Args:
            name: What `path` becomes.
            open_: Opens it for reading; called more than once, from any thread.
            bands: As in `open`.

        Raises:
            PictureError: As `open`, like the others.
            PictureTooLargeError: Its strips or tiles are too large, or it has too many bands.
            InvalidParameterError: The file has no such bands.
            MissingDependencyError: rasterio is not installed.
        """
        return cls._of(Path(name), partial(open_object, open_), bands)

    @classmethod
    def _of(cls, path: Path, open_: Callable[..., DatasetReader], bands: Sequence[int] | None) -> Scene:
        dataset = open_()
        try:
            if not overviews_show_scene(dataset):
                dataset.close()
                open_ = partial(open_, overviews=False)
                dataset = open_()
            with translated():
                return cls(path, dataset, bands, open_)
        except BaseException:
            dataset.close()
            raise

    def read(self, tile: Tile, size: tuple[int, int] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Reads a window; averages where it shrinks, from the overview that fits, and interpolates where it grows.

        Args:
            tile: The window, inside the scene.
            size: (height, width) of the result, in pixels; default: the window's.

        Returns:
            uint8 `[height, width, 3]`, RGB, and bool `[height, width]`: which pixels are part of the picture; the
            others are grey. Samples of more than 8 bits, or signed ones, are stretched by percentiles of the scene.

        Raises:
            UndecodablePictureError: The window is damaged.
        """
        if size is None:
            size = tile.height, tile.width
        stretch = self.stretch()
        shrinks = size[0] < tile.height or size[1] < tile.width
        samples, valid = self._samples(tile, size, "average" if shrinks else "bilinear")
        if self._palette is not None:
            samples = np.ascontiguousarray(self._palette[samples[0]].transpose(2, 0, 1))
        picture = stretch.apply(samples, None if valid.all() else valid)
        if self._white_is_zero:
            np.subtract(255, picture, out=picture, where=valid[..., None])
        return picture, valid

    def is_absent(self, tile: Tile) -> bool:
        """Returns whether a sparse file has no block of a window; GDAL's writers leave blocks without data out."""
        down, across = self._block
        rows = range(tile.y // down, (tile.y + tile.height - 1) // down + 1)
        columns = range(tile.x // across, (tile.x + tile.width - 1) // across + 1)
        with self._lock, environment():
            return not any(
                self._dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band)
                for row in rows
                for column in columns
                for band in self.bands
            )

    def stretch(self) -> Stretch:
        """Returns the scene's stretch; the first call measures it, on an overview or on a bounded sample.

        Raises:
            UndecodablePictureError: The sample is damaged.
        """
        if self._stretch is None:
            if self._palette is not None or (self.dtype == "uint8" and self._bits == 8):
                self._stretch = Stretch()
            elif self.dtype == "uint8":  # fewer bits: all of them count
                bands = len(self.bands)
                self._stretch = Stretch(np.zeros(bands), np.full(bands, 2.0**self._bits - 1))
            else:
                samples, valid = self._sample()
                if not self._has_mask and all(value is None for value in self._nodata):
                    fills = find_fills(samples[:, valid], None)
                    self._fills = tuple(np.dtype(self.dtype).type(fill) for fill in fills)
                    valid &= self._has_data(samples)
                self._stretch = Stretch.of_sample(samples, valid)
        return self._stretch

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        with self._lock:
            self._dataset.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decodes_first_block(self) -> bool:
        """Returns whether the first block can be read; True if a sparse file has left it out."""
        try:
            self._samples(Tile(0, 0, 1, 1), (1, 1), "nearest")
        except UndecodablePictureError:
            return False
        return True

    def _samples(
        self, tile: Tile, size: tuple[int, int], resampling: str
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Returns samples `[bands, height, width]` as stored, and which pixels are part of the picture."""
        from rasterio.enums import Resampling
        from rasterio.windows import Window

        window = Window(tile.x, tile.y, tile.width, tile.height)
        how = Resampling.nearest if self._palette is not None else Resampling[resampling]
        with self._lock, environment(), self._opened_anew_after_errors(), translated():
            samples: NDArray[np.generic] = self._dataset.read(
                list(self.bands), window=window, out_shape=(len(self.bands), *size), resampling=how
            )
            valid = np.ones(size, np.bool_)
            if self._has_mask:
                masks = self._dataset.read_masks(list(self.bands), window=window, out_shape=(len(self.bands), *size))
                valid = (masks > 0).any(axis=0)
        return samples, valid & self._has_data(samples)

    @contextmanager
    def _opened_anew_after_errors(self) -> Iterator[None]:
        """Empties GDAL's cache of blocks after an error: a damaged JPEG that is read from there gives no warning."""
        try:
            yield
        except UndecodablePictureError:
            self._dataset.close()
            self._dataset = self._reopen()
            raise

    def _has_data(self, samples: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Returns which pixels are measured in all bands, and not nodata in one at least."""
        has: NDArray[np.bool_] = np.ones(samples.shape[1:], np.bool_)
        if all(value is not None for value in self._nodata):
            has = np.any([band != value for band, value in zip(samples, self._nodata, strict=True)], axis=0)
        for fill in self._fills:
            has &= (samples != fill).any(axis=0)
        if samples.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                has &= (np.abs(samples) < (HUGE if samples.dtype.itemsize > 2 else np.inf)).all(axis=0)
        return has

    def _sample(self) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Returns samples `[bands, n]` from all over the scene, and which are part of the picture."""
        whole = Tile(0, 0, self.width, self.height)
        sizes = [(-(-self.height // factor), -(-self.width // factor)) for factor in (1, *self.overviews)]
        fitting = [size for size in sizes if _LEAST_SAMPLE_PIXELS <= size[0] * size[1] <= _SAMPLE_PIXELS]
        if fitting or self.width * self.height <= _SAMPLE_PIXELS:
            size = fitting[-1] if fitting else (self.height, self.width)
            samples, valid = self._samples(whole, size, "nearest")
            return samples.reshape(len(samples), -1), valid.ravel()
        parts: list[tuple[NDArray[np.generic], NDArray[np.bool_]]] = []
        for count, size_ in _SAMPLE_GRIDS:
            parts = [self._samples(one, (one.height, one.width), "nearest") for one in self._spread(count, size_)]
            if any(valid.any() for _, valid in parts):
                break
        bands = len(self.bands)
        if not parts:
            return np.empty((bands, 0), self.dtype), np.empty(0, np.bool_)
        return (
            np.concatenate([samples.reshape(bands, -1) for samples, _ in parts], axis=1),
            np.concatenate([valid.ravel() for _, valid in parts]),
        )

    def _spread(self, count: int, size: int) -> list[Tile]:
        """Returns windows that are spread evenly and have data."""
        width, height = min(size, self.width), min(size, self.height)
        middles = (np.arange(count) + 0.5) / count
        xs = (middles * self.width - width / 2).clip(0, self.width - width).astype(int).tolist()
        ys = (middles * self.height - height / 2).clip(0, self.height - height).astype(int).tolist()
        windows = (Tile(x, y, width, height) for y in ys for x in xs)
        return [window for window in windows if not self.is_absent(window)]


def _chosen(dataset: DatasetReader, bands: Sequence[int] | None) -> tuple[int, ...]:
    if bands is None:
        names = [colour.name for colour in dataset.colorinterp]
        if {"red", "green", "blue"} <= set(names):
            return tuple(names.index(name) + 1 for name in ("red", "green", "blue"))
        return (1, 2, 3) if dataset.count >= 3 else (1,)
    try:
        numbers = [operator.index(band) for band in bands]
    except TypeError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(1 <= band <= dataset.count for band in numbers):
        raise InvalidParameterError(
            f"bands: expected one number or three, each 1 to {dataset.count}, given {', '.join(map(str, bands))}"
        )
    if len({dataset.dtypes[band - 1] for band in numbers}) > 1:
        raise UnsupportedPictureError("the bands have samples of different types")
    return tuple(numbers)


def _palette(dataset: DatasetReader, bands: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Returns the colours uint8 `[256 or 65536, 3]` of a palette's indices; None for samples that are no indices."""
    if bands != (1,) or dataset.colorinterp[0].name != "palette" or dataset.dtypes[0] not in ("uint8", "uint16"):
        return None
    colours = np.zeros((np.iinfo(dataset.dtypes[0]).max + 1, 3), np.uint8)
    for index, colour in dataset.colormap(1).items():
        colours[index] = colour[:3]
    return colours


def _of_type(value: Any, dtype: str) -> Any:
    """Returns a nodata value as a sample; None if there is none, or samples cannot have it."""
    if value is None:
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return kind.type(value)
    limits = np.iinfo(kind)
    return kind.type(value) if float(value).is_integer() and limits.min <= value <= limits.max else None
