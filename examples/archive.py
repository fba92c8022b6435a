"""Archive: what `azaion batch` found, class by class, and what failed.

azaion batch pictures/ --out found
python examples/archive.py found
"""

from __future__ import annotations

import argparse
from collections import Counter

import pyarrow.dataset as ds


def main() -> None:
    """Reads the parts some rows at a time, so that an archive of any size fits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", help="the job's --out")
    parser.add_argument("--confidence", type=float, default=0.5, help="boxes below it are not counted")
    given = parser.parse_args()

    pictures, failures, objects = 0, [], Counter()  # type: ignore[var-annotated]
    parts = ds.dataset(f"{given.folder}/parts", format="parquet")
    for batch in parts.to_batches(columns=["source", "class_names", "confidences", "error"]):
        for row in batch.to_pylist():
            if row["error"] is not None:
                failures.append(f"{row['source']}: {row['error']}")
                continue
            pictures += 1
            boxes = zip(row["class_names"], row["confidences"], strict=True)
            objects.update(name for name, confidence in boxes if confidence >= given.confidence)
    for name, count in objects.most_common():
        print(f"{count} {name}")
    print(f"{pictures} pictures, {len(failures)} failed")
    for failure in sorted(failures):
        print(failure)


if __name__ == "__main__":
    main()
