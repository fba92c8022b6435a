"""Writes the generated pages: `python -m docs.generator`."""

from __future__ import annotations

from pathlib import Path

from docs.generator.pages import PAGES

for path, make in PAGES.items():
    (Path(__file__).parents[1] / path).write_text(make(), encoding="utf-8")
