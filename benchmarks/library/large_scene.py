"""Large scene: peak memory and time of `azaion detect` on a GeoTIFF of 60,000 × 60,000 pixels.

    python -m benchmarks.library.large_scene --json FILE [--side 60000] [--height 60000] [--every 14]
        [--strips | --full] [--tiles SIZE]

The scene is made first, in a temporary folder: a demo picture at every n-th place of a grid, and nothing elsewhere; a
GeoTIFF leaves such blocks out. With --strips it is one of whole rows instead, every pixel of it compressed. With --full
every tile is there, without overviews: the encoded tiles of one demo picture, written again and again, so that the file
is as large as a survey's and is made in seconds. The command runs in a process of its own, whose largest resident set
and processor time the system reports (`getrusage`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from azaion_engine.model.file import sample_picture
from azaion_engine.pictures.codec import decode
from benchmarks.records.machine import machine

_PROFILE = {"driver": "GTiff", "count": 3, "dtype": "uint8", "BIGTIFF": "YES", "sparse_ok": True}
_TILED = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "jpeg", "photometric": "ycbcr"}
_STRIPS = {"tiled": False, "blockysize": 16, "compress": "zstd", "zstd_level": 1}
_OVERVIEWS = (8, 16, 32)
_LAYOUTS = {
    "strips": "strips of 16 rows, Zstandard",
    "full": "tiles of 512, JPEG, every tile present, no overviews",
    "sparse": "tiles of 512, JPEG, sparse, overviews",
}


def make_scene(path: Path, side: int, rows: int, every: int, strips: bool) -> int:
    """Writes the scene; returns the number of demo pictures in it."""
    import rasterio
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    picture = decode(sample_picture()).transpose(2, 0, 1)
    _, height, width = picture.shape
    profile: dict[str, Any] = {
        "width": side,
        "height": rows,
        "crs": "EPSG:32633",
        "transform": Affine(0.1, 0, 400_000, 0, -0.1, 5_400_000),
        **_PROFILE,
        **(_STRIPS if strips else _TILED),
    }
    placed = 0
    with rasterio.Env(GDAL_CACHEMAX=1 << 29), rasterio.open(path, "w", **profile) as dataset:
        if strips:
            row = np.tile(picture, (1, 1, side // width + 1))[:, :, :side]
            for y in range(0, rows, height):
                part = row[:, : rows - y]
                dataset.write(part, window=Window(0, y, side, part.shape[1]))
            placed = (rows // height) * (side // width)
        else:
            for y in range(0, rows - height, every * height):
                for x in range(0, side - width, every * width):
                    dataset.write(picture, window=Window(x, y, width, height))
                    placed += 1
    if not strips:
        with rasterio.Env(SPARSE_OK_OVERVIEW="ON", COMPRESS_OVERVIEW="JPEG"), rasterio.open(path, "r+") as dataset:
            dataset.build_overviews(_OVERVIEWS, Resampling.nearest)
    return placed


def make_full_scene(path: Path, side: int, rows: int) -> int:
    """Writes a scene of which every tile is present; returns the number of whole demo pictures in it.

    The tiles of one picture are encoded once, and their bytes are written to every place of the grid (TIFF 6.0, section
    15: a tile is bytes at an offset; its tables, section 22, are the same for all).
    """
    import rasterio
    from affine import Affine
    from rasterio.io import MemoryFile

    block = _TILED["blockxsize"]
    picture = decode(sample_picture()).transpose(2, 0, 1)
    picture = picture[:, : picture.shape[1] // block * block, : picture.shape[2] // block * block]
    _, height, width = picture.shape
    profile = {**_PROFILE, **_TILED}
    with MemoryFile() as memory:
        with memory.open(**profile, width=width, height=height) as dataset:
            dataset.write(picture)
        data = memory.read()
    with MemoryFile(data) as memory, memory.open() as dataset:
        encoded = [[_encoded_tile(dataset, data, x, y) for x in range(width // block)] for y in range(height // block)]
    place = {"crs": "EPSG:32633", "transform": Affine(0.1, 0, 400_000, 0, -0.1, 5_400_000)}
    with rasterio.open(path, "w", **profile, **place, width=side, height=rows):
        pass  # the directory, and no tile
    across, down = -(-side // block), -(-rows // block)
    with path.open("r+b") as file:
        (offsets_at, kind), (counts_at, count_kind) = (_array_of(file, tag, across * down) for tag in (324, 325))
        at = file.seek(0, os.SEEK_END)
        offsets, counts = [], []
        for y in range(down):
            for x in range(across):
                tile = encoded[y % len(encoded)][x % len(encoded[0])]
                offsets.append(at)
                counts.append(len(tile))
                at += file.write(tile)
        for begin, letter, numbers in ((offsets_at, kind, offsets), (counts_at, count_kind, counts)):
            file.seek(begin)
            file.write(struct.pack(f"<{len(numbers)}{letter}", *numbers))
    return (side // width) * (rows // height)


def _encoded_tile(dataset: Any, data: bytes, x: int, y: int) -> bytes:
    offset, size = (int(dataset.get_tag_item(f"BLOCK_{name}_{x}_{y}", "TIFF", bidx=1)) for name in ("OFFSET", "SIZE"))
    return data[offset : offset + size]


def _array_of(file: BinaryIO, tag: int, count: int) -> tuple[int, str]:
    """Returns where the values of a tag of a little-endian BigTIFF's first directory are, and their struct letter."""
    file.seek(0)
    magic, first = struct.unpack("<8sQ", file.read(16))
    if magic != b"II+\0\x08\0\0\0":
        raise ValueError(f"expected a little-endian BigTIFF, given one that begins with {magic!r}")
    file.seek(first)
    [entries] = struct.unpack("<Q", file.read(8))
    for number, kind, found, place in struct.iter_unpack("<HHQQ", file.read(20 * entries)):
        if number == tag and found == count:
            return place, {3: "H", 4: "I", 16: "Q"}[kind]
    raise ValueError(f"expected {count} values of tag {tag}")


_RUN = """
import resource, sys
from azaion_cli.app import main
code = main()
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stderr)
sys.exit(code)
"""


def _used(errors: bytes) -> tuple[int, float]:
    """Returns what `_RUN` printed last: the peak in bytes, which Linux counts in KiB, and processor seconds."""
    peak, seconds = errors.split()[-2:]
    return 1024 * int(peak), float(seconds)


def main() -> None:
    """Makes the scene, runs the command on it and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--side", type=int, default=60_000)
    parser.add_argument("--height", type=int, help="default: the side")
    parser.add_argument("--every", type=int, default=14)
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--strips", action="store_true")
    layout.add_argument("--full", action="store_true")
    parser.add_argument("--tiles", help="size of the windows; default: the command's own")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    rows = options.height or options.side
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "scene.tif", Path(folder) / "out.geojson"
        begun = time.monotonic()
        # In a process of its own: a process that is forked begins with its parent's largest resident set.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            if options.full:
                making = pool.submit(make_full_scene, path, options.side, rows)
            else:
                making = pool.submit(make_scene, path, options.side, rows, options.every, options.strips)
            placed = making.result()
        made = time.monotonic() - begun
        print(f"made {path.stat().st_size / 1e6:.0f} MB with {placed} pictures in {made:.0f} s", flush=True)
        command = ["detect", str(path), "--format", "geojson", "-o", str(out), "--json", "--model", options.model]
        if options.tiles:
            command += ["--tiles", options.tiles]
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *command, "--engine", "onnx"], capture_output=True, check=False
        )
        seconds = time.monotonic() - begun
        peak, cpu_seconds = _used(done.stderr)
        record = {
            "machine": machine(),
            "scene": {
                "width": options.side,
                "height": rows,
                "bytes": path.stat().st_size,
                "pixels_bytes": 3 * options.side * rows,
                "pictures": placed,
                "layout": _LAYOUTS["strips" if options.strips else "full" if options.full else "sparse"],
                "model": options.model,
                "tiles": options.tiles,
            },
            "exit_code": done.returncode,
            "boxes": len(json.loads(out.read_text())["features"]) if done.returncode == 0 else None,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds, 1),
            "peak_rss_mb": round(peak / 2**20),
            "bar_mb": 2048,
        }
        if done.returncode:
            print(done.stderr.decode(), file=sys.stderr)
    options.json.write_text(json.dumps(record, indent=1) + os.linesep)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
