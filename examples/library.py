"""No service: runs the model in this process, prints the boxes and draws them into a copy of the picture.

python examples/library.py PICTURE OUTPUT.jpg [--model best.onnx]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from azaion_engine import Detector
from azaion_engine.pictures.codec import decode, encode_jpeg


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="demo", help="path of an ONNX file")
    options = parser.parse_args()

    pixels = decode(options.picture.read_bytes())  # upright RGB, [height, width, 3]
    with Detector.open(model=options.model, confidence=0.5) as detector:  # loading is slow: open it once
        [found] = detector.detect(pixels)
    for box in found:
        print(f"{box.class_name} {box.confidence:.2f} at {box.x1:.0f},{box.y1:.0f} – {box.x2:.0f},{box.y2:.0f}")
    options.output.write_bytes(encode_jpeg(found.draw(pixels)))


if __name__ == "__main__":
    main()
