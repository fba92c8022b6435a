"""Drones' photos that the tests of scenes make."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

NADIR = {
    "GpsLatitude": "+52.5000000",
    "GpsLongitude": "+13.4000000",
    "RelativeAltitude": "+100.00",
    "GimbalPitchDegree": "-90.00",
    "GimbalYawDegree": "+0.00",
    "GimbalRollDegree": "+0.00",
    "CalibratedFocalLength": "400.00",
}


def photo(path: Path, tags: dict[str, str], exif: dict[int, float] | None = None, *, elements: bool = False) -> Path:
    if elements:
        inner = ">" + "".join(f"<drone-dji:{name}>{value}</drone-dji:{name}>" for name, value in tags.items())
    else:
        inner = "".join(f' drone-dji:{name}="{value}"' for name, value in tags.items()) + ">"
    xmp = (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
        f"<rdf:Description{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    values = Image.Exif()
    for tag, value in (exif or {}).items():
        if tag == 0x0112:
            values[tag] = int(value)
        else:
            values.get_ifd(0x8769)[tag] = value
    stream = io.BytesIO()
    Image.new("RGB", (400, 300)).save(stream, "JPEG", xmp=xmp.encode(), exif=values)
    path.write_bytes(stream.getvalue())
    return path
