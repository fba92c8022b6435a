"""Tally: counts pictures, boxes and failures of a run, and reports each failure at once."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from azaion_cli.console import say, say_error, say_log, stderr
from azaion_engine.errors import AzaionError, PictureTooLargeError
from azaion_engine.files.names import printable

if TYPE_CHECKING:
    from azaion_engine.files.sources import Item

_LIFTS_LIMIT = "; --set max_picture_bytes=… and max_picture_pixels=… take larger ones"


class Tally:
    """Counts one run; its clock starts when it is made."""

    def __init__(self, *, as_json: bool) -> None:
        """Begins at zero; with `as_json`, failures and the summary are JSON objects."""
        self._as_json = as_json
        self.pictures = self.boxes = self.failed = 0
        self._begun = time.monotonic()

    def found(self, boxes: int) -> None:
        """Counts one answered picture."""
        self.pictures += 1
        self.boxes += boxes

    def failure(self, item: Item, error: AzaionError) -> None:
        """Counts and reports a picture, video, stream or folder that failed."""
        self.failed += 1
        hint = _LIFTS_LIMIT if isinstance(error, PictureTooLargeError) else ""
        say_error(error.code, f"{item.source}: {error}{hint}", as_json=self._as_json)

    def lost(self, address: str, why: str) -> None:
        """Reports a stream that will be connected again; counts nothing."""
        say_log("warning", f"{address}: {why}; connecting again", as_json=self._as_json)

    def not_drawn(self, source: str) -> None:
        """Reports a picture that is read in windows, so that there are no pixels of the whole; counts nothing."""
        say_log("warning", f"{printable(source)}: read in windows, so it is not drawn", as_json=self._as_json)

    def report(self, skipped_frames: int | None = None) -> None:
        """Says the counts on stderr; `skipped_frames` of streams, which newer ones replaced, too."""
        seconds = time.monotonic() - self._begun
        if self._as_json:
            counts = {"pictures": self.pictures, "boxes": self.boxes, "failed": self.failed}
            if skipped_frames is not None:
                counts["skipped_frames"] = skipped_frames
            say(json.dumps({"summary": {**counts, "seconds": round(seconds, 3)}}))
        elif self.failed or stderr().is_terminal or skipped_frames is not None:
            rate = self.pictures / seconds if seconds else 0.0
            failed = f", {self.failed} failed" if self.failed else ""
            skipped = f", {skipped_frames} frames skipped for newer ones" if skipped_frames else ""
            say(f"{self.pictures} pictures, {self.boxes} boxes in {seconds:.1f} s ({rate:.1f}/s){skipped}{failed}")
