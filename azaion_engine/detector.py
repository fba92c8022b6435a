"""Detector: pictures → boxes, for use without a server and by the server itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from azaion_engine.cuda.context import begin_context
from azaion_engine.engines.base import InferenceEngine
from azaion_engine.errors import PictureError
from azaion_engine.model.info import ModelInfo
from azaion_engine.parameters import check_confidence, check_suppression
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.letterbox import PAD_VALUE
from azaion_engine.pictures.prepared import MOST_BOXES, HeldPicture, HeldTile, PictureForm, PreparedPicture
from azaion_engine.pictures.preparing import ONE_PICTURE, Picture
from azaion_engine.pipeline import run_pipeline
from azaion_engine.results.detections import Detections
from azaion_engine.settings import DetectorSettings, Tiles
from azaion_engine.stages import Stages
from azaion_engine.tiling.detecting import detect_tiled
from azaion_engine.tiling.settings import TilesWish, tiles_of
from azaion_engine.tiling.tiled_picture import TiledPicture

if TYPE_CHECKING:
    from azaion_engine.engines.tensorrt.build.progress import BuildProgress

Item = TypeVar("Item")

_PREPARERS = 2
"""Threads of `detect` that prepare pictures: one cannot feed a GPU; a third has no work, since the GPU decodes."""


class Detector(Stages):
    """Finds objects in pictures with an engine that is loaded once."""

    def __init__(
        self,
        engine: InferenceEngine,
        names: Mapping[int, str] | None = None,
        *,
        model_name: str = "model",
        confidence: float = 0.25,
        limits: PictureLimits | None = None,
        info: ModelInfo | None = None,
        iou: float | None = None,
        max_detections: int = MOST_BOXES,
        decode_bytes: int | None = None,
        tiles: Tiles = Tiles(size="off"),  # noqa: B008 (frozen)
    ) -> None:
        """Wraps an open engine; the detector closes it.

        Args:
            engine: Runs the network.
            names: Class names by id; a class without a name is called `class_<id>`.
            model_name: Short name, for display.
            confidence: Default threshold, 0…1.
            limits: Largest accepted pictures.
            info: Properties of the model file, if there is one.
            iou: Default overlap above which the less confident of two boxes is dropped, 0…1; None: the head's own.
            max_detections: Default largest number of boxes of a picture.
            decode_bytes: Memory of all decodes at once, in bytes; default: a quarter of the machine's, at least 256 MiB
                and at most 4 GiB.
            tiles: Default way to cut large pictures.

        Raises:
            InvalidParameterError: The confidence is out of range.
        """
        super().__init__(
            engine,
            names,
            confidence=confidence,
            limits=limits,
            iou=iou,
            max_detections=max_detections,
            decode_bytes=decode_bytes,
        )
        self.model_name = model_name
        self.info = info
        self.tiles = tiles

    @classmethod
    def open(
        cls,
        settings: DetectorSettings | None = None,
        *,
        shared: bool = False,
        progress: BuildProgress | None = None,
        cpu_lanes: int = 1,
        **overrides: Any,
    ) -> Detector:
        """Opens a model on the best engine available; on a GPU this builds its TensorRT plan once and keeps it.

        Args:
            settings: The configuration; default: the demo model, everything automatic.
            shared: Whether to share the engine with other processes of this machine that also set this; it then runs
                in a host process, whose log reports the build.
            progress: Reports a build; ignored if the engine is shared.
            cpu_lanes: Without a GPU, pictures that the network sees at once, which share the threads; not if the engine
                is shared. For many pictures, where none is waited for: each takes longer, and more memory is needed.
            **overrides: Single settings by name, e.g. `model="best.onnx", confidence=0.4`.

        Raises:
            ConfigurationError: The settings need something that this machine does not have.
            ModelError: The model is no detector, or needs keys of the settings, which the message names.
            EngineBuildError: TensorRT refused the model.
        """
        given = settings.model_dump(include=set(DetectorSettings.model_fields)) if settings else {}
        settings = DetectorSettings(**{**given, **overrides})
        if settings.engine != "onnx" and not shared:
            begin_context()  # created in the background while this thread imports and reads

        from azaion_engine.opening.model import open_model

        model = open_model(settings, shared=shared, progress=progress, cpu_lanes=cpu_lanes)
        try:
            return cls(
                model.engine,
                model.names,
                model_name=model.name,
                confidence=settings.confidence,
                limits=PictureLimits(settings.max_picture_bytes, settings.max_picture_pixels),
                info=model.info,
                iou=settings.nms_iou,
                max_detections=settings.max_detections,
                decode_bytes=settings.max_decode_bytes,
                tiles=settings.tiles,
            )
        except BaseException:
            model.engine.close()
            raise

    def detect(
        self,
        pictures: Sequence[Picture] | Picture,
        confidence: float | None = None,
        classes: Collection[int | str] | int | str | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        tiles: TilesWish = None,
    ) -> list[Detections]:
        """Finds the objects in pictures.

        Args:
            pictures: One picture or several: encoded bytes (also as bytearray or memoryview), paths, PIL images, or
                uint8 RGB arrays.
            confidence: Threshold, 0…1; default: the detector's own.
            classes: Class ids or names to keep, or a single one; default: all.
            iou: Overlap above which the less confident of two boxes is dropped, 0…1; default: the detector's own.
            max_detections: Largest number of boxes of a picture; default: the detector's own, of a tile if it is cut.
            tiles: How large pictures are cut: `auto`, a size in pixels, `off`, or a mapping of `Tiles`' fields;
                default: the detector's own.

        Returns:
            One `Detections` per picture, in the order given.

        Raises:
            PictureError: A picture cannot be decoded; the message says which one.
            InvalidParameterError: A number is out of range, the model has no such class, or its IoU cannot be chosen.
        """
        if isinstance(pictures, ONE_PICTURE):
            pictures = [pictures]
        check_confidence(confidence)
        check_suppression(iou, max_detections)
        kept = self.class_ids(classes) if classes is not None else None
        detections = []
        each = self.detect_each(
            pictures, confidence=confidence, classes=kept, iou=iou, max_detections=max_detections, tiles=tiles
        )
        for index, result in enumerate(each):
            if isinstance(result, PictureError):
                raise type(result)(f"picture {index}: {result}") from result
            detections.append(result)
        return detections

    def detect_each(
        self,
        pictures: Iterable[Picture | Callable[[], Picture]],
        *,
        threads: int = _PREPARERS,
        confidence: float | None = None,
        classes: Collection[int] | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        tiles: TilesWish = None,
    ) -> Iterator[Detections | PictureError]:
        """Finds the objects in any number of pictures; holds only a few batches in memory at a time.

        Args:
            pictures: Consumed as needed; a function is called in one of the threads and returns its picture.
            threads: Most threads that decode; where the GPU does, one reads files and looks at headers.
            confidence: Threshold, 0…1; default: the detector's own.
            classes: Class ids to keep; default: all.
            iou: Overlap above which the less confident of two boxes is dropped, 0…1; default: the detector's own.
            max_detections: Largest number of boxes of a picture; default: the detector's own, of a tile if it is cut.
            tiles: How large pictures are cut, as in `detect`.

        Returns:
            Yields, for each picture, in order, its detections or its error.

        Raises:
            AzaionError: The engine failed on a picture, or can never run again.
        """
        wanted = tiles_of(tiles, self.tiles)

        def prepare(picture: Picture | EncodedPicture | HeldTile) -> PreparedPicture:
            return self.prepare(picture, confidence, iou, max_detections)

        def run(batch: Sequence[PreparedPicture]) -> list[Detections | Exception]:
            return self.finish_batch(
                batch, self.infer(batch), [confidence] * len(batch), classes, [max_detections] * len(batch)
            )

        def each(
            items: Iterable[Item], prepare: Callable[[Item], PreparedPicture]
        ) -> Generator[Detections | PictureError]:
            batch, lanes = self.engine.get_batch_size(), self.engine.lanes
            for result in run_pipeline(items, prepare, run, batch=batch, lanes=lanes, threads=threads):
                if isinstance(result, Exception) and not isinstance(result, PictureError):
                    raise result
                yield result

        if not wanted.enabled:
            return each(pictures, lambda picture: prepare(_called(picture)))
        found = detect_tiled(
            pictures,
            lambda picture: self.tiled(_called(picture), wanted),
            lambda pieces: each(pieces, lambda piece: piece.whole.prepare(piece, prepare)),
        )
        return found if max_detections is None else (_first(one, max_detections) for one in found)

    def tiled(self, picture: Picture | EncodedPicture, tiles: Tiles) -> TiledPicture:
        """Opens a picture and decides, by its header, into which pieces it is cut.

        Args:
            picture: As in `prepare`.
            tiles: How large pictures are cut.

        Raises:
            PictureError: The picture cannot be read, is too large or takes too many tiles.
        """
        opened, network = self._preparer.opened(picture), self.engine.get_input_shape()
        return TiledPicture(opened, tiles, network, self._preparer.memory, self._hold)

    def _hold(self, picture: EncodedPicture) -> HeldPicture | None:
        jpeg = self._preparer.for_hardware(picture)
        return None if jpeg is None else self.engine.hold(jpeg)

    def warm_up(self) -> None:
        """Decodes a picture and runs the engine once, so that the first request is not slow."""
        grey = encode_jpeg(np.full((*self.engine.get_input_shape(), 3), PAD_VALUE, np.uint8))
        picture = self.prepare(grey)
        self.engine.warm_up()
        if self.tiles.enabled and (held := self._hold(EncodedPicture(grey))) is not None:  # opens a decoder
            held.release()
        if self._preparer.form is not PictureForm.ARRAY:  # else the engine has run what it takes
            [found] = self.infer([picture])
            if isinstance(found, Exception):  # it would come back with every request
                raise found

    def close(self) -> None:
        """Closes the engine; a second call does nothing."""
        self.engine.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _called(picture: Picture | Callable[[], Picture]) -> Picture:
    return picture() if callable(picture) else picture


def _first(found: Detections | PictureError, most: int) -> Detections | PictureError:
    return found if isinstance(found, PictureError) else found.first(most)
