"""Large scene: peak memory and time of `azaion detect` on a GeoTIFF of 60,000 × 60,000 pixels.

    python -m benchmarks.library.large_scene --json FILE [--side 60000] [--height 60000] [--every 14] [--strips]

The scene is made first, in a temporary folder: a demo picture at every n-th place of a grid, and nothing elsewhere; a
GeoTIFF leaves such blocks out. With --strips it is one of whole rows instead, every pixel of it compressed. The command
runs in a process of its own, whose largest resident set the system reports (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from azaion_engine.model.file import sample_picture
from azaion_engine.pictures.codec import decode
from benchmarks.records.machine import machine

_PROFILE = {"driver": "GTiff", "count": 3, "dtype": "uint8", "BIGTIFF": "YES", "sparse_ok": True}
_TILED = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "jpeg", "photometric": "ycbcr"}
_STRIPS = {"tiled": False, "blockysize": 16, "compress": "zstd", "zstd_level": 1}
_OVERVIEWS = (8, 16, 32)


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


_RUN = """
import resource, sys
from azaion_cli.app import main
code = main()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def _peak_bytes(errors: bytes) -> int:
    """Returns what `_RUN` printed last, in bytes; Linux counts in KiB."""
    return 1024 * int(errors.split()[-1])


def main() -> None:
    """Makes the scene, runs the command on it and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--side", type=int, default=60_000)
    parser.add_argument("--height", type=int, help="default: the side")
    parser.add_argument("--every", type=int, default=14)
    parser.add_argument("--strips", action="store_true")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    rows = options.height or options.side
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "scene.tif", Path(folder) / "out.geojson"
        begun = time.monotonic()
        # In a process of its own: a process that is forked begins with its parent's largest resident set.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            placed = pool.submit(make_scene, path, options.side, rows, options.every, options.strips).result()
        made = time.monotonic() - begun
        print(f"made {path.stat().st_size / 1e6:.0f} MB with {placed} pictures in {made:.0f} s", flush=True)
        command = ["detect", str(path), "--format", "geojson", "-o", str(out), "--json", "--model", options.model]
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *command, "--engine", "onnx"], capture_output=True, check=False
        )
        seconds = time.monotonic() - begun
        peak = _peak_bytes(done.stderr)
        record = {
            "machine": machine(),
            "scene": {
                "width": options.side,
                "height": rows,
                "bytes": path.stat().st_size,
                "pixels_bytes": 3 * options.side * rows,
                "pictures": placed,
                "layout": "strips of 16 rows, Zstandard" if options.strips else "tiles of 512, JPEG, sparse, overviews",
                "model": options.model,
            },
            "exit_code": done.returncode,
            "boxes": len(json.loads(out.read_text())["features"]) if done.returncode == 0 else None,
            "seconds": round(seconds, 1),
            "peak_rss_mb": round(peak / 2**20),
            "bar_mb": 2048,
        }
        if done.returncode:
            print(done.stderr.decode(), file=sys.stderr)
    options.json.write_text(json.dumps(record, indent=1) + os.linesep)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
