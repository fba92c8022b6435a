"""Scene files: which files are read in windows, how, and where pictures lie on the map."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from azaion_engine.detector import Detector
from azaion_engine.errors import InvalidParameterError, PictureError
from azaion_engine.files.geojson import Georeference
from azaion_engine.files.sources import Item, Source
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.detecting import detect_scene
from azaion_engine.scenes.locating import locate
from azaion_engine.scenes.map_tags import read_size
from azaion_engine.scenes.raster import is_tiff
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import SceneOptions
from azaion_engine.settings import Tiles
from azaion_engine.tiling.tile import Tile


@dataclass(frozen=True)
class SceneWishes:
    """The options that only pictures read in windows can follow.

    Attributes:
        bands: Numbers of the bands, from 1; None: the file's own red, green and blue.
        gsd: Metres per pixel to resample to; None: none.
        scene_gsd: Metres per pixel of the pictures; None: as they say.
        min_metres: Minimum length of a box; None: any.
        max_metres: Maximum length, likewise.
    """

    bands: tuple[int, ...] | None = None
    gsd: float | None = None
    scene_gsd: float | None = None
    min_metres: float | None = None
    max_metres: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self != SceneWishes()

    def options(self, tiles: Tiles) -> SceneOptions:
        """Returns what is wanted of a scene.

        Args:
            tiles: Size and overlap of the windows.

        Raises:
            InvalidParameterError: A length is not above 0.
        """
        return SceneOptions(tiles, self.gsd, self.scene_gsd, self.min_metres, self.max_metres)


def in_windows(path: Path, wishes: SceneWishes, limits: PictureLimits) -> bool:
    """Returns whether a file is read in windows: a TIFF above the limits of pictures, or any with a wish for one."""
    if wishes.given:
        return True
    if not is_tiff(path):
        return False
    width, height, _ = read_size(path) or (0, 0, True)
    return path.stat().st_size > limits.max_bytes or width * height > limits.max_pixels


class SceneDetection:
    """Detects in the sources that are read in windows."""

    def __init__(self, detector: Detector, tiles: Tiles, wishes: SceneWishes) -> None:
        """Reads nothing yet.

        Args:
            detector: Runs the network.
            tiles: Size and overlap of the windows.
            wishes: The options.

        Raises:
            InvalidParameterError: A length is not above 0.
        """
        self._detector = detector
        self._wishes = wishes
        self._options = wishes.options(tiles)

    def takes(self, source: Source) -> bool:
        """Returns whether a source is read in windows."""
        return not source.unreadable and in_windows(Path(source.path), self._wishes, self._detector.limits)

    def answers(
        self,
        source: Source,
        confidence: float | None,
        classes: Collection[int] | None,
        threads: int,
        progress: Callable[[int, int], None],
    ) -> Iterator[tuple[Item, Detections | PictureError]]:
        """Yields the boxes of a scene, and an error if there is one; both where some windows are damaged.

        Args:
            source: One that `takes` returned true for.
            confidence: Threshold; None: the detector's own.
            classes: Class ids to keep; None: all.
            threads: Threads that prepare windows.
            progress: Called with the number of windows done and of all.
        """
        item = Item(source.path, source.name, Path(source.path))
        try:
            with Scene.open(source.path, self._wishes.bands) as scene:
                result = detect_scene(
                    self._detector,
                    scene,
                    self._options,
                    threads=threads,
                    confidence=confidence,
                    classes=classes,
                    progress=progress,
                )
        except PictureError as error:
            yield item, error
        except InvalidParameterError as error:  # the file's fault: others may follow the same options
            yield item, PictureError(str(error))
        else:
            yield item, result.found
            if result.damaged:
                yield item, damage(result.damaged)


def damage(windows: Sequence[tuple[Tile, PictureError]]) -> PictureError:
    """Returns one error that tells of a scene's damaged windows, of which there is at least one."""
    tile, why = windows[0]
    where = f"the first at {tile.x}, {tile.y}, {tile.width}×{tile.height}"
    error = type(why)(f"{len(windows)} of its windows cannot be read, {where}: {why}")
    error.code = why.code
    return error


def locate_item(item: Item) -> Georeference | None:
    """Returns where the picture of an item lies, if it says so.

    Raises:
        MissingDependencyError: A TIFF, and rasterio is not installed.
    """
    return locate(item.picture) if isinstance(item.picture, (Path, bytes)) else None
