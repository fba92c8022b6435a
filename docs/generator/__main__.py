"""Writes the generated pages: `python -m docs.generator`."""

from __future__ import annotations

import shutil
from pathlib import Path

from docs.generator.pages import PAGES, PLOTS

DOCS = Path(__file__).parents[1]

for path, make in PAGES.items():
    (DOCS / path).write_text(make(), encoding="utf-8")
for name in PLOTS:
    shutil.copyfile(DOCS.parent / "benchmarks" / "results" / name, DOCS / "assets" / name)
