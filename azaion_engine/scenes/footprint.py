"""Footprint: where a drone's photo lies, estimated from what the camera wrote into it.

Method, for photos taken straight down (nadir): the photo's centre is the camera's position; a pixel covers
height ÷ focal length in pixels; the upper edge points where the gimbal does. Flat ground at the height of the take-off
is assumed. Not used: terrain, lens distortion, the offset between antenna and camera.

The tags are DJI's XMP (`drone-dji`, which Autel and others write as well): developer.dji.com, "Photo metadata". Without
them there is no height above ground, so that there is no footprint.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from azaion_engine.scenes.georeference import PlaneGeoreference

MOST_TILT = 5.0
"""Maximum angle between the camera's axis and the vertical, in degrees; tilted further, there is no footprint."""
_FIX, _FIX_RTK = 3.0, 0.05
"""Expected error of a position in metres, horizontally: of a GNSS receiver alone, and with fixed RTK corrections."""
_HEIGHT_SHARE = 0.05
"""Expected relative error of the height above ground: barometer and terrain."""
_FULL_FRAME_DIAGONAL = math.hypot(36, 24)
"""Of the film, in millimetres, to which `FocalLengthIn35mmFilm` refers (CIPA DC-008, 4.6.6.5)."""

_HEAD_BYTES = 1 << 20
"""Bytes at a file's beginning in which XMP is looked for; DJI's block is within the first 64 KiB."""
_XMP = re.compile(rb"<x:xmpmeta.{0,65536}?</x:xmpmeta>", re.DOTALL)
_TAG = re.compile(r"drone-dji:(\w{1,40})\s{0,8}(?:=\s{0,8}[\"']([^\"']{1,40})[\"']|>([^<]{1,40})<)")
_EXIF_IFD, _FOCAL_35MM, _ORIENTATION = 0x8769, 0xA405, 0x0112
_RTK_FIXED = 50.0


@dataclass(frozen=True)
class CameraPose:
    """Where a camera was and looked.

    Attributes:
        longitude: In degrees.
        latitude: Likewise.
        height: Above the take-off, in metres.
        pitch: Of the gimbal, in degrees; -90 is straight down.
        yaw: Of the gimbal, degrees clockwise from north.
        roll: Of the gimbal about the camera's axis, in degrees; ±180 where the camera hangs the other way round.
        focal: Focal length in pixels of the photo.
        rtk: Whether the position had fixed RTK corrections.
    """

    longitude: float
    latitude: float
    height: float
    pitch: float
    yaw: float
    roll: float
    focal: float
    rtk: bool = False


def footprint(picture: Path | bytes) -> PlaneGeoreference | None:
    """Returns where a drone's JPEG lies; None if it is not one, was not taken straight down, or lacks a tag.

    Args:
        picture: A picture file or its bytes. What cannot be read has no footprint.
    """
    from PIL import Image
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        with io.BytesIO(picture) if isinstance(picture, bytes) else picture.open("rb") as file:
            tags = read_tags(file.read(_HEAD_BYTES))
            if not tags:
                return None
            file.seek(0)
            opened = JpegImageFile(file)
            exif = opened.getexif()
            film = float(exif.get_ifd(_EXIF_IFD).get(_FOCAL_35MM) or 0)
            upright = exif.get(_ORIENTATION, 1) == 1
            width, height = opened.size
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, ZeroDivisionError, Image.DecompressionBombError):
        return None  # broken metadata do not make a picture unusable
    pose = pose_of(tags, width, height, film) if upright else None
    return None if pose is None else footprint_of(pose, width, height)


def read_tags(head: bytes) -> dict[str, float]:
    """Returns the numbers among DJI's tags of the XMP block in a file's beginning."""
    tags: dict[str, float] = {}
    for block in _XMP.findall(head)[:4]:
        for name, attribute, element in _TAG.findall(block.decode("utf-8", "replace")):
            try:
                value = float(attribute or element)
            except ValueError:
                continue
            if math.isfinite(value):
                tags.setdefault(name, value)
    return tags


def pose_of(tags: dict[str, float], width: int, height: int, film: float = 0.0) -> CameraPose | None:
    """Returns the camera's pose; None if a tag is missing or makes no sense.

    Args:
        tags: From `read_tags`.
        width: Of the photo, in pixels.
        height: Likewise.
        film: `FocalLengthIn35mmFilm` in millimetres, used without `CalibratedFocalLength`; 0: unknown.
    """
    longitude = tags.get("GpsLongitude", tags.get("GpsLongtitude"))  # early firmware has the misspelt name
    latitude, above = tags.get("GpsLatitude"), tags.get("RelativeAltitude")
    pitch, yaw = tags.get("GimbalPitchDegree"), tags.get("GimbalYawDegree")
    focal = tags.get("CalibratedFocalLength", 0.0) or film / _FULL_FRAME_DIAGONAL * math.hypot(width, height)
    if longitude is None or latitude is None or above is None or pitch is None or yaw is None:
        return None
    # 0, 0 is what a drone without a fix writes.
    if not (abs(longitude) <= 180 and abs(latitude) < 85 and (longitude or latitude) and above > 0 and focal > 0):
        return None
    rtk = tags.get("RtkFlag") == _RTK_FIXED
    return CameraPose(longitude, latitude, above, pitch, yaw, tags.get("GimbalRollDegree", 0.0), focal, rtk)


def footprint_of(pose: CameraPose, width: int, height: int) -> PlaneGeoreference | None:
    """Returns where a photo lies; None if it was not taken straight down.

    The error is that of the position, of the tilt (height · tan of the angle from the vertical), and, at the photo's
    corner, of the height above ground, as the root of the sum of their squares.

    Args:
        pose: Of the camera.
        width: Of the photo, in pixels.
        height: Likewise.
    """
    tilt = abs(pose.pitch + 90)
    if tilt > MOST_TILT:
        return None
    metres = pose.height / pose.focal
    corner = metres * math.hypot(width, height) / 2
    error = math.hypot(
        _FIX_RTK if pose.rtk else _FIX, pose.height * math.tan(math.radians(tilt)), corner * _HEIGHT_SHARE
    )
    return PlaneGeoreference(
        longitude=pose.longitude,
        latitude=pose.latitude,
        width=width,
        height=height,
        metres=metres,
        heading=(pose.yaw + pose.roll) % 360,  # of a camera that looks down, both turn about the vertical
        error_m=error,
    )
