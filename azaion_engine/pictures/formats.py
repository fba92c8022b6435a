"""Formats of pictures, recognised by the first bytes; for other content, its name for the error message."""

from __future__ import annotations

import re
import struct

ACCEPTED_FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "AVIF", "HEIC", "JPEG XL")
"""Names of the picture formats that can be decoded, as `sniff` returns them; the last two need the extra `formats`."""

_ACCEPTED_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
)

_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)

# Content that is often sent by mistake; the error message names it.
_OTHER_STARTS = (
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"\x00\x00\x01\x00", "an ICO"),
    (b"v/1\x01", "an OpenEXR"),
    (b"II\xbc\x01", "a JPEG XR"),
    (b"#?RADIANCE", "a Radiance HDR"),
    (b"#?RGBE", "a Radiance HDR"),
    (b"DDS ", "a DDS texture"),
    (b"qoif", "a QOI"),
    (b"icns", "an ICNS"),
    (b"\x0a\x05\x01", "a PCX"),
    (b"\x8aMNG", "an MNG"),
    (b"\x8bJNG", "a JNG"),
    (b"%!PS", "PostScript"),
    (b"SIMPLE  =", "a FITS"),
    (b"\x89HDF", "an HDF5 file"),
    (b"CDF\x01", "a NetCDF file"),
    (b"CDF\x02", "a NetCDF file"),
    (b"FUJIFILMCCD-RAW", "a camera raw file (RAF)"),
    (b"IIU\x00", "a camera raw file (RW2)"),
    (b"IIRO", "a camera raw file (ORF)"),
    (b"IIRS", "a camera raw file (ORF)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"FLV\x01", "a Flash video"),
    (b"OggS", "an Ogg video or sound"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"\x89PNG", "a PNG with a damaged signature (were line ends converted on its way?)"),
    (b"\xc2\x89PNG", "a picture that was converted to UTF-8 (send its bytes)"),
    (b"\xc3\xbf\xc3\x98\xc3\xbf", "a picture that was converted to UTF-8 (send its bytes)"),
    (b"\xef\xbf\xbd", "bytes that were converted to UTF-8, and lost (send the picture's bytes)"),
    (b"\xff\xfe", "a text in UTF-16"),
    (b"\xfe\xff", "a text in UTF-16"),
    (b"version https://git-lfs", "a pointer of Git LFS (fetch the file with `git lfs pull`)"),
    (b"HTTP/", "a whole HTTP response (send its body)"),
    (b"http://", "a URL (send the picture itself)"),
    (b"https://", "a URL (send the picture itself)"),
    (b"data:", "a data URL (send the decoded bytes)"),
    (b"{", "JSON"),
    (b"[", "JSON"),
)
_OTHER_PLACES = (
    (128, b"DICM", "a DICOM file"),
    (257, b"ustar", "a tar archive"),
    (-18, b"TRUEVISION-XFILE", "a TGA"),
)
"""Offset, content there, name; negative offsets count from the end."""
_NETPBM = re.compile(rb"P[1-7Ff]\s")
_BASE64 = re.compile(rb"[\"']?(/9j/|iVBORw0KGgo|UklGR[A-Za-z0-9+/]{6}XRUJQ|SUkqA|TU0AK|AAAA[A-Za-z0-9+/]{2}Z0eXB)")
"""First bytes of a JPEG, PNG, WebP, TIFF of either order, AVIF and HEIC in base64, maybe as a JSON string."""

_ISO_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIC"),
}
"""Brands of the files of ISO/IEC 23008-12 that are accepted."""
_MOST_BRAND_BYTES = 256
_GENERAL_BRANDS = (b"mif1", b"msf1", b"miaf", b"MiHB")
"""Brands that leave open what encodes the pixels; the compatible brands tell."""


def sniff(data: bytes) -> str | None:
    """Recognises an accepted format by its first bytes.

    Args:
        data: The encoded picture, or just its first 32 bytes.

    Returns:
        One of `ACCEPTED_FORMATS`, or None when it is none of them.
    """
    for start, name in _ACCEPTED_STARTS:
        if data.startswith(start):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _iso_format(data)
    # A text may start with "BM" too, so the size of the second header must be valid as well.
    if data.startswith(b"BM") and len(data) >= 18 and struct.unpack_from("<I", data, 14)[0] in _BMP_HEADER_SIZES:
        return "BMP"
    return None


def describe_other(data: bytes) -> str:
    """Describes bytes that are no accepted picture, for an error message.

    Args:
        data: The bytes that were sent, at least one.
    """
    for start, name in _OTHER_STARTS:
        if data.startswith(start):
            return name
    for place, content, name in _OTHER_PLACES:
        if data.startswith(content, place):
            return name
    if _NETPBM.match(data):
        return "a Netpbm picture (PBM, PGM, PPM, PAM or PFM)"
    if _BASE64.match(data):
        return "a picture in base64 (send the decoded bytes)"
    if data[4:8] == b"ftyp":
        if data[8:12] in _GENERAL_BRANDS:
            return "a HEIF that is neither an AVIF nor a HEIC"
        return "a camera raw file (CR3)" if data[8:12] == b"crx " else "an MP4 or QuickTime video"
    if data.startswith(b"RIFF"):
        return "an AVI video" if data[8:12] == b"AVI " else "a RIFF file that is no WebP"
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in data[:4096].lower()):
        return "an SVG"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<!--", b"<?xml")):
        return "HTML or XML"
    if text.startswith(b"--") and b"content-disposition" in text:
        return "a whole multipart form (send it with its multipart/form-data content type)"
    return f"no picture (first bytes {data[:8].hex(' ')})"


def _iso_format(data: bytes) -> str | None:
    if data[8:12] not in _GENERAL_BRANDS:
        return _ISO_BRANDS.get(data[8:12])
    end = min(int.from_bytes(data[:4], "big"), len(data), _MOST_BRAND_BYTES)
    brands = (data[at : at + 4] for at in range(16, end - 3, 4))
    return next((_ISO_BRANDS[brand] for brand in brands if brand in _ISO_BRANDS), None)
