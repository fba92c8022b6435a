"""Detector: the whole way from pictures to boxes, for people who have no server and for the server itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.cuda.context import begin_context
from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.errors import InvalidParameterError, PictureError, reason
from azaion_engine.model.info import ModelInfo
from azaion_engine.pictures.codec import PictureLimits, decode, encode_jpeg, read_hardware_jpeg
from azaion_engine.pictures.jpeg_header import PlainJpeg, is_baseline_jpeg
from azaion_engine.pictures.letterbox import PAD_VALUE, Letterbox
from azaion_engine.pictures.prepared import PictureForm, PreparedBatch, PreparedPicture
from azaion_engine.results.detections import Detections
from azaion_engine.settings import DetectorSettings

_PREPARERS = 2
"""Threads of `detect` that prepare beside those that run batches on a GPU; one gave a fifth less on an H100."""

Picture = bytes | Path | str | NDArray[np.uint8]
"""Encoded bytes, the path of a picture file, or uint8 RGB pixels `[height, width, 3]`."""


class Detector:
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
    ) -> None:
        """Wraps an open engine; the detector closes it.

        Args:
            engine: What runs the network.
            names: Class names by id; a class without a name is called `class_<id>`.
            model_name: Short name, for people.
            confidence: Default threshold, 0…1.
            limits: Largest accepted pictures.
            info: What the model file says of itself, where there is one.

        Raises:
            InvalidParameterError: The confidence is out of range.
        """
        check_confidence(confidence)
        self.engine = engine
        self.names = dict(names or {})
        self.model_name = model_name
        self.confidence = confidence
        self.limits = limits or PictureLimits()
        self.info = info
        self._form = engine.open_pictures()

    @classmethod
    def open(
        cls,
        settings: DetectorSettings | None = None,
        *,
        shared: bool = False,
        progress: BuildProgress | None = None,
        **overrides: Any,
    ) -> Detector:
        """Opens a model on the best engine at hand; on a GPU this builds its TensorRT engine once and keeps it.

        Args:
            settings: The configuration; default: the demo model, everything automatic.
            shared: Uses the engine together with other processes of this host that say so too: it then lives in a
                process of its own, whose log tells of the build.
            progress: Told of the build, if there is one and the engine is not shared.
            **overrides: Single settings by name, e.g. `model="best.onnx", confidence=0.4`.

        Raises:
            ConfigurationError: The settings ask for what this machine cannot give.
            ModelError: The model is no `[batch, n, 6]` detector.
            EngineBuildError: TensorRT refused the model.
        """
        given = settings.model_dump(include=set(DetectorSettings.model_fields)) if settings else {}
        settings = DetectorSettings(**{**given, **overrides})
        if settings.engine != "onnx" and not shared:
            begin_context()

        from azaion_engine.model.file import ModelFile
        from azaion_engine.model.labels import read_labels
        from azaion_engine.opening import open_engine, open_shared_engine

        names = read_labels(settings.labels) if settings.labels else None  # before a build that may take minutes
        model = ModelFile.read(settings.model)
        engine = open_shared_engine(model, settings) if shared else open_engine(model, settings, progress)
        try:
            return cls(
                engine,
                model.info.names if names is None else names,
                model_name=model.name,
                confidence=settings.confidence,
                limits=PictureLimits(settings.max_picture_bytes, settings.max_picture_pixels),
                info=model.info,
            )
        except BaseException:
            engine.close()
            raise

    def prepare(self, picture: Picture, plain: PlainJpeg | None = None) -> PreparedPicture:
        """Decodes a picture and fits it into the network input, or leaves both to the GPU; safe in many threads.

        Args:
            picture: Encoded bytes, a path, or uint8 RGB pixels `[height, width, 3]`.
            plain: What `read_plain_jpeg` says of encoded bytes, where it has been asked already.

        Raises:
            PictureError: The picture cannot be decoded or is too large; says what was given.
        """
        size = self.engine.get_input_shape()
        if not isinstance(picture, np.ndarray):
            data = _read(picture)
            header = read_hardware_jpeg(data, self.limits) if self._form is PictureForm.JPEG else None
            if header is not None:
                letterbox = Letterbox.fit(header.width, header.height, *size)
                return PreparedPicture(letterbox, jpeg=data, orientation=header.orientation)
            picture = decode(data, self.limits, plain)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise PictureError(
                f"expected uint8 RGB pixels [height, width, 3], given {picture.dtype} {list(picture.shape)}"
            )
        letterbox = Letterbox.fit(picture.shape[1], picture.shape[0], *size)
        if self._form is PictureForm.ARRAY:
            return PreparedPicture(letterbox, tensor=letterbox.to_input(picture))
        return PreparedPicture(letterbox, pixels=letterbox.apply(picture))

    def leaves_to_gpu(self, encoded: bytes) -> bool:
        """Tells in microseconds whether `prepare` will be quick, because the GPU is likely to decode this picture."""
        return self._form is PictureForm.JPEG and is_baseline_jpeg(encoded)

    def infer(self, pictures: PreparedBatch | Sequence[PreparedPicture]) -> list[NDArray[np.float32] | PictureError]:
        """Runs prepared pictures as one batch; as many threads at a time as the engine has lanes gain from it.

        Returns:
            One float32 `[k, 6]` a picture, in pixels of the network input; or what is wrong with it, where the GPU
            decodes.
        """
        batch = pictures if isinstance(pictures, PreparedBatch) else PreparedBatch.of(pictures)
        others = [picture for picture in batch.pictures if picture.tensor is None]
        rows = iter(()) if batch.tensors is None else iter(self.engine.run(batch.tensors)[0])
        found = iter(self.engine.run_pictures(others) if others else ())
        return [next(found) if picture.tensor is None else next(rows) for picture in batch.pictures]

    def finish(
        self,
        picture: PreparedPicture,
        rows: NDArray[np.float32],
        confidence: float | None = None,
        classes: Collection[int] | None = None,
    ) -> Detections:
        """Turns one picture's rows into boxes in pixels of that picture."""
        threshold = self.confidence if confidence is None else confidence
        return Detections.from_rows(rows, picture.letterbox, self.names, threshold, classes)

    def detect(
        self,
        pictures: Sequence[Picture] | Picture,
        confidence: float | None = None,
        classes: Collection[int | str] | None = None,
    ) -> list[Detections]:
        """Finds the objects in pictures.

        Args:
            pictures: One picture or several: encoded bytes, paths, or uint8 RGB arrays.
            confidence: Threshold, 0…1; default: the detector's own.
            classes: Class ids or names to keep; default: all.

        Returns:
            One `Detections` a picture, in the order given.

        Raises:
            PictureError: A picture cannot be decoded; the message says which one.
            InvalidParameterError: The confidence is out of range, or there is no such class.
        """
        if isinstance(pictures, (bytes, str, Path, np.ndarray)):
            pictures = [pictures]
        check_confidence(confidence)
        kept = self.class_ids(classes) if classes is not None else None
        batch, lanes = self.engine.get_batch_size(), self.engine.lanes
        starts = range(0, len(pictures), batch)
        if min(len(starts), lanes) < 2:  # one batch of pictures in memory at a time
            parts = (self._run(self._prepare_batch(pictures[i : i + batch], i), i, confidence, kept) for i in starts)
            return [found for part in parts for found in part]
        # One runner more than lanes: the boxes that it makes need no lane. A few batches are in memory.
        with ThreadPoolExecutor(_PREPARERS, "prepare") as preparers, ThreadPoolExecutor(lanes + 1, "run") as runners:
            found: list[Detections] = []
            ahead: deque[Future[list[Detections]]] = deque()
            for i in starts:
                prepared = preparers.submit(self._prepare_batch, pictures[i : i + batch], i)
                ahead.append(runners.submit(self._run_when_prepared, prepared, i, confidence, kept))
                if len(ahead) > lanes + 1 + _PREPARERS:
                    found += ahead.popleft().result()
            return [*found, *(one for part in ahead for one in part.result())]

    def class_ids(self, classes: Collection[int | str]) -> set[int]:
        """Resolves class ids or names (case-insensitive) to ids.

        Raises:
            InvalidParameterError: There is no such class; the message lists those there are.
        """
        by_name = {name.casefold(): class_id for class_id, name in self.names.items()}
        ids = set()
        for given in classes:
            text = str(given).strip()
            if text.isdecimal() and len(text) <= 9 and (not self.names or int(text) in self.names):
                ids.add(int(text))
            elif text.casefold() in by_name:
                ids.add(by_name[text.casefold()])
            else:
                known = ", ".join(f"{i} {n}" for i, n in sorted(self.names.items())) or "ids only, it names none"
                raise InvalidParameterError(f"classes: the model has no class {text!r}; it has {known}")
        return ids

    def warm_up(self) -> None:
        """Decodes and runs what requests will need once, so that the first request pays for nothing."""
        picture = self.prepare(encode_jpeg(np.full((*self.engine.get_input_shape(), 3), PAD_VALUE, np.uint8)))
        self.engine.warm_up()
        if self._form is not PictureForm.ARRAY:
            self.infer([picture])

    def close(self) -> None:
        """Closes the engine; a second call does nothing."""
        self.engine.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare_batch(self, pictures: Sequence[Picture], first: int) -> PreparedBatch:
        prepared = []
        for index, picture in enumerate(pictures, first):
            try:
                prepared.append(self.prepare(picture))
            except PictureError as error:
                raise type(error)(f"picture {index}: {error}") from error
        return PreparedBatch.of(prepared)

    def _run_when_prepared(
        self,
        prepared: Future[PreparedBatch],
        first: int,
        confidence: float | None,
        classes: Collection[int] | None,
    ) -> list[Detections]:
        return self._run(prepared.result(), first, confidence, classes)

    def _run(
        self, prepared: PreparedBatch, first: int, confidence: float | None, classes: Collection[int] | None
    ) -> list[Detections]:
        found = []
        for index, (picture, rows) in enumerate(zip(prepared.pictures, self.infer(prepared), strict=True), first):
            if isinstance(rows, PictureError):
                raise type(rows)(f"picture {index}: {rows}") from rows
            found.append(self.finish(picture, rows, confidence, classes))
        return found


def check_confidence(confidence: float | None) -> None:
    """Refuses a confidence outside 0…1.

    Raises:
        InvalidParameterError: Names the value given.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise InvalidParameterError(f"confidence: expected 0 to 1, given {confidence}")


def _read(picture: bytes | Path | str) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise PictureError(f"cannot read {str(picture)!r}: {reason(error)}") from error
