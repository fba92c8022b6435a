"""External weights: tensors whose values are in files beside the ONNX file, read into the model.

The ONNX file names such a file by a path relative to its own folder (onnx/docs/ExternalData.md). ONNX Runtime,
TensorRT, the FP16 conversion and the process of a shared engine all get one self-contained model.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from azaion_engine.errors import ModelError, reason
from azaion_engine.model.file_kind import TOO_LARGE_ADVICE, foreign_kind
from azaion_engine.model.outline import MAX_MODEL_BYTES
from azaion_engine.model.parsing import parse_model

_LOCATION_KEY = b"\x0a\x08location"
"""The field `key` of the entry that every external tensor has; a file without these bytes need not be parsed."""

# Bits of an element by the name of its type in `TensorProto.DataType`. Strings cannot be external.
_BITS = {
    **dict.fromkeys(("INT2", "UINT2"), 2),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    **dict.fromkeys(("INT16", "UINT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("INT32", "UINT32", "FLOAT"), 32),
    **dict.fromkeys(("INT64", "UINT64", "DOUBLE", "COMPLEX64"), 64),
    "COMPLEX128": 128,
}


@dataclass(frozen=True)
class _Place:
    """Where a tensor's values are: `length` bytes at `offset` of the file at `location`."""

    tensor: Any
    location: str
    offset: int
    length: int


def check_self_contained(model: Any) -> None:
    """Refuses a model whose weights are elsewhere, because runtimes would look for them in the current folder.

    Args:
        model: The `onnx.ModelProto`.

    Raises:
        ModelError: A tensor's values are in another file; the message names it.
    """
    for tensor in _external_tensors(model):
        raise ModelError(
            f"the weights are in the file {_entries(tensor).get('location', '')!r} beside the model, which its bytes "
            "alone lack: open the model by its path, or write it as one file with onnx.save(onnx.load(path), ...)"
        )


def with_external_weights(model_bytes: bytes, path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Reads the weights that a model has in files beside it into the model.

    A file is looked up in the model's folder, never in the current one. A location that is absolute or has `..`, or
    that leads by a link out of the folder (and out of the one where the model's own link leads, as in the cache of
    Hugging Face), is refused, as ONNX Runtime does from 1.24 (microsoft/onnxruntime#26776, #27374).

    Args:
        model_bytes: Content of the ONNX file.
        path: Path of the ONNX file.

    Returns:
        The model with all weights in it, as `onnx.save(onnx.load(path), ...)` writes it, and the names of the files
        that they came from; `model_bytes` itself and no name if all weights are in the file already.

    Raises:
        ModelError: A file is missing, outside the folder, too short or not that of this model, or the model with its
            weights is larger than `MAX_MODEL_BYTES`.
    """
    if _LOCATION_KEY not in model_bytes:
        return model_bytes, ()
    try:
        model = parse_model(model_bytes)
        places = [_place(tensor) for tensor in _external_tensors(model)]
        if not places:
            return model_bytes, ()
        total = len(model_bytes) + sum(place.length for place in places)
        if total > MAX_MODEL_BYTES:
            raise ModelError(
                f"the model with the weights beside it has {total / 2**30:.2f} GiB, the limit is 2: {TOO_LARGE_ADVICE}"
            )
        by_location: dict[str, list[_Place]] = defaultdict(list)
        for place in places:
            by_location[place.location].append(place)
        _check_present(path, tuple(by_location))
        for location, wanted in by_location.items():
            with _open_beside(path, location) as file:
                _fill(file, wanted)
        return model.SerializeToString(), tuple(by_location)
    except ModelError as error:
        raise ModelError(f"model: {str(path)!r}: {error}") from error
    except OSError as error:
        raise ModelError(f"model: {str(path)!r}: the weights beside it cannot be read: {reason(error)}") from error


def _external_tensors(model: Any) -> Iterator[Any]:
    import onnx

    tensors = [*_tensors_of_graph(model.graph)]
    for function in model.functions:
        tensors += _tensors_of_nodes(function.node)
    return (tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL)


def _tensors_of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Any) -> Iterator[Any]:
    from onnx import AttributeProto as Attribute

    plain = {Attribute.FLOAT, Attribute.INT, Attribute.STRING, Attribute.FLOATS, Attribute.INTS, Attribute.STRINGS}
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type in plain:  # nearly all are; the rest is slow to look through
                continue
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors_of_graph(graph)


def _entries(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _place(tensor: Any) -> _Place:
    import onnx

    entries = _entries(tensor)
    kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in _known_types() else "unknown"
    if kind not in _BITS or any(size < 0 for size in tensor.dims):
        raise ModelError(f"tensor {tensor.name!r} is {kind} {list(tensor.dims)}, which no file beside a model can hold")
    length = -(-prod(tensor.dims) * _BITS[kind] // 8)
    try:
        offset, stated = int(entries.get("offset") or 0), int(entries.get("length") or length)
    except ValueError as error:
        raise ModelError(f"tensor {tensor.name!r}: offset and length are no whole numbers: {entries}") from error
    if offset < 0 or stated != length:
        raise ModelError(
            f"tensor {tensor.name!r} is {kind} {list(tensor.dims)}, {length} bytes, but the model says that it has "
            f"{stated} at {offset} of {entries.get('location', '')!r}"
        )
    return _Place(tensor, entries.get("location", ""), offset, length)


def _known_types() -> list[int]:
    import onnx

    return list(onnx.TensorProto.DataType.values())


def _check_present(path: Path, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not _resolve(path, name).exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(
            f"its weights are in {missing[0]!r}{more}, missing from {str(path.parent)!r}: put what was exported or "
            "downloaded with the model there, under its old name"
        )


def _resolve(path: Path, location: str) -> Path:
    """Returns the real path of a file beside the model; refuses every other."""
    written = Path(location)
    if not location or "\0" in location or written.is_absolute() or ".." in written.parts:
        raise ModelError(f"its weights are in {location!r}; only files in the model's own folder are read")
    # realpath: strict resolution would fail on a missing file, which gets a message of its own.
    real = Path(os.path.realpath(path.parent / location))
    folders = (Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent)
    if not any(real.is_relative_to(folder) for folder in folders):
        raise ModelError(
            f"its weights {location!r} are a link to {str(real)!r}, outside the model's folder: copy the file there"
        )
    return real


@contextmanager
def _open_beside(path: Path, location: str) -> Iterator[BinaryIO]:
    # O_NOFOLLOW: the real path has no link, unless one was put there since. O_NONBLOCK: never wait for a pipe.
    descriptor = os.open(_resolve(path, location), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ModelError(f"its weights {location!r} are no regular file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _fill(file: BinaryIO, places: list[_Place]) -> None:
    import onnx

    size = os.fstat(file.fileno()).st_size
    needed = max(place.offset + place.length for place in places)
    if needed > size:
        kind = foreign_kind(file.read(1024), Path(places[0].location), size)  # often a Git LFS pointer
        raise ModelError(
            f"its weights {places[0].location!r} are {kind.name}; {kind.advice_for(Path(places[0].location))}"
            if kind
            else f"its weights {places[0].location!r} have {size} bytes, {needed} are needed: the file is cut short or "
            "belongs to another model, export or download both again"
        )
    for place in places:
        file.seek(place.offset)
        data = file.read(place.length)
        if len(data) < place.length:
            raise ModelError(f"the file {place.location!r} with its weights became shorter while it was read")
        place.tensor.raw_data = data
        place.tensor.data_location = onnx.TensorProto.DEFAULT
        del place.tensor.external_data[:]
