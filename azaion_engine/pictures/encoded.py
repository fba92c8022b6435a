"""EncodedPicture: an encoded picture; reads its header once and decodes its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from azaion_engine.errors import AzaionError, UndecodablePictureError
from azaion_engine.pictures.bounds.decode_cost import fast_jpeg_bytes, pillow_bytes, reader_bytes, webp_bytes
from azaion_engine.pictures.bounds.jpeg_entropy import has_blank
from azaion_engine.pictures.bounds.jpeg_segments import find_scans
from azaion_engine.pictures.bounds.png_rows import check_rows
from azaion_engine.pictures.formats import sniff
from azaion_engine.pictures.header import (
    OpenedPicture,
    PictureHeader,
    PictureLimits,
    check_bytes,
    check_format,
    check_pixels,
    open_picture,
    webp_size,
)
from azaion_engine.pictures.pixels import is_deep_colour, to_rgb, turn_upright
from azaion_engine.pictures.readers.failures import failed
from azaion_engine.pictures.readers.jpeg.header import END_MARKER, JpegHeader, read_jpeg_header
from azaion_engine.pictures.readers.jpeg.huffman import read_huffman_scan
from azaion_engine.pictures.readers.jpeg.probe import checksum, is_not_cut, is_read_to_its_end
from azaion_engine.pictures.readers.jpeg.scan import cut_off, decode_scan, is_suspect, scan_to_end
from azaion_engine.pictures.readers.jpeg.strict import decode_strictly
from azaion_engine.pictures.readers.tiff.checksums import check_picture
from azaion_engine.pictures.readers.tiff.jpeg_scans import check_scans
from azaion_engine.pictures.readers.webp_frame import is_whole


class EncodedPicture:
    """One encoded picture; used by one thread at a time.

    Attributes:
        data: The encoded picture.
        limits: Maximum size; checked before any pixel is decoded.
    """

    def __init__(self, data: bytes, limits: PictureLimits = PictureLimits()) -> None:  # noqa: B008 (frozen)
        """Stores the arguments; reads nothing yet.

        Args:
            data: The encoded picture: of a format of `ACCEPTED_FORMATS`, an MPO too.
            limits: Maximum size.
        """
        self.data = data
        self.limits = limits
        self._opened: OpenedPicture | None = None
        self._looked = False
        self._jpeg: JpegHeader | None = None
        self._scan: tuple[int, int] | None = None
        self._sought = False

    @property
    def jpeg(self) -> JpegHeader | None:
        """The header of a sequential JPEG, read in microseconds and without checks; None for every other picture."""
        # No cached_property: until Python 3.12 it takes a lock that all pictures share.
        if not self._looked:
            self._jpeg, self._looked = read_jpeg_header(self.data), True
        return self._jpeg

    def read_header(self) -> PictureHeader:
        """Reads size and orientation without decoding a pixel.

        Raises:
            EmptyBodyError: There are no bytes.
            UnsupportedPictureError: Not a picture, or a format or variant that is not accepted.
            UndecodablePictureError: The header is damaged.
            PictureTooLargeError: More bytes or pixels than the limits.
        """
        if self.jpeg is not None and self.jpeg.plain:
            check_bytes(self.data, self.limits)
            check_pixels(self.jpeg.width, self.jpeg.height, self.limits)
            return PictureHeader("JPEG", self.jpeg.width, self.jpeg.height, 1, self.jpeg.mode)
        return self._open().header

    def read_hardware_header(self) -> PictureHeader | None:
        """Reads the header of a JPEG that a hardware decoder turns into the same picture as `decode` does.

        Returns:
            Its header; None for any other picture: progressive, stored as CMYK or RGB, with unusual subsampling or
            several scans, truncated, or not a JPEG; also for one with a sign of damage, or with Huffman tables by which
            the GPU cannot check its scan, about which the CPU decides.

        Raises:
            PictureError: As `read_header`.
        """
        jpeg = self.jpeg
        if jpeg is None or not jpeg.suits_hardware or read_huffman_scan(jpeg) is None:
            return None
        if jpeg.plain:
            header = self.read_header()
            # Header and end marker suffice to recognise a complete single scan. Searching for markers in between takes
            # far longer, and finds only damage that happens to look like a marker.
            if jpeg.scans_all and self.data.endswith(END_MARKER):
                scan: tuple[int, int] | None = (jpeg.scan, len(self.data) - len(END_MARKER))
            else:
                scan = self._single_scan()
            return None if scan is None or is_suspect(self.data, jpeg, scan) else header
        opened = self._open()
        image, header = opened.image, opened.header
        scan = self._single_scan()
        if not isinstance(image, JpegImageFile) or scan is None:
            return None
        # Pillow decides, as it does for `decode`: our own reader may have been misled by what it does not know.
        is_ycc = len(image.layer) == 1 or image.info.get("adobe_transform", 1) == 1
        same = tuple(component[:3] for component in image.layer) == jpeg.components
        if not is_ycc or not same or image.info.get("progressive") or is_suspect(opened.data, jpeg, scan):
            return None
        self._opened = None  # its metadata must not live as long as this picture waits for the engine
        return header

    def decoding_bytes(self) -> int:
        """Returns how much memory `decode` takes at most besides the encoded picture, in bytes; decodes no pixel.

        Raises:
            PictureError: As `read_header`.
        """
        jpeg = self.jpeg
        if jpeg is not None and jpeg.plain and self._single_scan() is not None:
            return fast_jpeg_bytes(jpeg.width, jpeg.height)
        if sniff(self.data) == "WebP":
            check_format(self.data, self.limits)
            return webp_bytes(*webp_size(self.data), len(self.data))
        opened = self._open()
        header = opened.header
        if opened.reader is not None:
            return reader_bytes(
                header.width,
                header.height,
                opened.reader.pixel_bytes(),
                len(opened.data),
                turned=header.orientation != 1,
                piece_bytes=opened.piece_bytes,
            )
        if self._single_scan() is not None:
            return fast_jpeg_bytes(header.width, header.height) + len(opened.data)
        return pillow_bytes(
            *opened.pillow.size,
            "RGB;16" if is_deep_colour(opened.data) else header.mode,
            len(opened.data),
            turned=header.orientation != 1,
            coefficients=header.format == "JPEG",
            piece_bytes=opened.piece_bytes,
        )

    def forget(self) -> None:
        """Frees the opened header, which may keep a copy of the file; the next use opens it anew."""
        self._opened = None

    def decode(self) -> NDArray[np.uint8]:
        """Decodes the first frame and turns it upright.

        Alpha is dropped and ICC profiles are ignored, as in cv2.imread and hence in the data loaders that detectors are
        trained with. Compositing on white would also blank the many BMP and TIFF files whose fourth channel is unused
        and zero.

        Returns:
            uint8 `[height, width, 3]`, RGB, contiguous and writable.

        Raises:
            PictureError: As `read_header`; UndecodablePictureError also where the pixels are damaged or truncated.
            OutOfMemoryError: No memory was left.
        """
        picture: NDArray[np.uint8] | None
        jpeg = self.jpeg
        if jpeg is not None and jpeg.plain:
            self.read_header()  # checks the limits
            if (scan := self._single_scan()) is not None:
                picture = decode_scan(self.data, jpeg, jpeg.width, jpeg.height, scan)
                if picture is not None:
                    return picture
        needed = self.decoding_bytes()
        opened = self._open()
        self._opened = None  # free Pillow's pixels early: this picture may wait long for the engine
        header = opened.header
        try:
            if opened.reader is not None:
                picture = opened.reader.read()
            elif header.format == "JPEG":
                picture = self._decode_jpeg(opened)
            else:
                if header.format == "WebP" and not is_whole(opened.data):
                    raise UndecodablePictureError("the WebP is damaged or truncated: a part of its data is overwritten")
                opened.pillow.load()
                if header.format == "PNG":
                    check_rows(opened.pillow, opened.data)
                elif opened.layout is not None:
                    check_scans(opened.pillow, opened.data, opened.layout)
                picture = to_rgb(opened.pillow, opened.data)
                if opened.layout is not None:
                    check_picture(opened.pillow, picture, opened.data, opened.layout)
            del opened  # its pixels, before turning the picture takes a copy
            return turn_upright(picture, header.orientation)
        except AzaionError:
            raise
        except Exception as error:  # Pillow's plug-ins raise many types on damaged files: see the tests
            raise failed(header.format, error, needed) from error

    def _open(self) -> OpenedPicture:
        if self._opened is None:
            self._opened = open_picture(self.data, self.limits)
        return self._opened

    def _single_scan(self) -> tuple[int, int] | None:
        """Finds the only scan of an 8-bit grey or YCbCr JPEG that has one, and its end marker.

        Returns:
            Offsets of its compressed data and of the end marker, in the file or, if it is not plain, in the opened one;
            None for any other picture.
        """
        if not self._sought:
            if self.jpeg is not None and self.jpeg.plain:
                self._scan = scan_to_end(self.data, self.jpeg.scan)
            else:
                opened = self._open()
                image = opened.image
                if isinstance(image, JpegImageFile) and image.mode in ("L", "RGB") and image.fp is not None:
                    # Pillow stopped at the first byte of the first scan.
                    self._scan = scan_to_end(opened.data, image.fp.tell())
            self._sought = True
        return self._scan

    def _decode_jpeg(self, opened: OpenedPicture) -> NDArray[np.uint8]:
        """Decodes a JPEG.

        Raises:
            UndecodablePictureError: More than `MOST_SCANS` scans, which would take too long to decode, or too few data.
        """
        scan = self._single_scan()  # even if data follow it, e.g. a phone's motion photo
        if scan is not None:
            picture = decode_scan(opened.data, self.jpeg, *opened.pillow.size, scan)
            if picture is not None:
                return picture
        scans = find_scans(opened.data, opened.scan)
        picture = decode_strictly(opened.data, *opened.pillow.size) if opened.pillow.mode in ("L", "RGB") else None
        if picture is None:
            opened.pillow.load()
            picture = to_rgb(opened.pillow, opened.data)
            opened.pillow.close()  # its pixels
            if not scans or not is_not_cut(opened.data, scans[-1][1], checksum(picture)):
                raise cut_off()
        suspect = next((scan for scan in scans if has_blank(opened.data, *scan)), None)
        if suspect is not None and not is_read_to_its_end(opened.data, *suspect):
            raise cut_off()
        return picture
