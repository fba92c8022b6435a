"""Weights beside the model: read from its own folder only, part of its identity, checked against its tensors."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.engines.tensorrt.build.builder import build_plan
from azaion_engine.errors import ModelError
from azaion_engine.model import external_weights
from azaion_engine.model.file import ModelFile
from azaion_engine.model.info import ModelInfo
from tests.azaion_engine.models import make_batch, make_detector, reference_run


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A detector whose weights are all in `tiny.onnx.data` beside `tiny.onnx`, alone in a folder."""
    (folder := tmp_path / "model").mkdir()
    return save_split(folder / "tiny.onnx")


def save_split(path: Path, location: str = "tiny.onnx.data", seed: int = 0) -> Path:
    model = onnx.load_model_from_string(make_detector(seed=seed))
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def rewrite(path: Path, **entries: str) -> None:
    """Changes the entries of the first external tensor."""
    model = onnx.load(path, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    changed = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in changed.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as raised:
        ModelFile.read(str(path))
    message = str(raised.value)
    assert message.startswith(f"model: {str(path)!r}: ")
    assert "\n" not in message
    return message


def test_the_model_runs_with_the_weights_beside_it(split: Path) -> None:
    model = ModelFile.read(str(split))
    assert model.weight_files == ("tiny.onnx.data",)
    with OnnxEngine(model.data) as engine:
        [rows] = engine.run(data := make_batch(1))
    [expected] = reference_run(make_detector(), data)
    np.testing.assert_array_equal(rows, expected)
    assert pickle.loads(pickle.dumps(model)) == model  # as it goes to the process of a shared engine


def test_weights_are_looked_up_beside_the_model_never_in_the_current_folder(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    save_split(elsewhere / "tiny.onnx", seed=5)
    monkeypatch.chdir(elsewhere)
    assert ModelFile.read(str(split)).data == onnx.load(split).SerializeToString()
    (split.parent / "tiny.onnx.data").unlink()
    assert "'tiny.onnx.data', missing from" in refusal(split)
    monkeypatch.chdir(split.parent)
    assert "missing from '.'" in refusal(Path("tiny.onnx"))


def test_the_hash_covers_the_weights_and_is_that_of_one_file_made_of_both(split: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(split), tmp_path / "one.onnx")
    before = ModelFile.read(str(split))
    assert before.sha256 == hashlib.sha256((tmp_path / "one.onnx").read_bytes()).hexdigest() == before.info.sha256
    weights = split.parent / "tiny.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    after = ModelFile.read(str(split))
    assert after.sha256 != before.sha256


def test_the_hash_of_a_model_without_such_files_is_that_of_the_file(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(make_detector())
    helper.set_model_props(model, {"location": "a word that external tensors use"})
    (path := tmp_path / "tiny.onnx").write_bytes(model.SerializeToString() + b"\xaa\x06\x03new")
    read = ModelFile.read(str(path))
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read.weight_files == ()


def test_tensors_in_attributes_functions_and_sparse_ones_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "values").write_bytes(np.arange(4, dtype=np.float32).tobytes())

    def external(name: str) -> TensorProto:
        tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
        set_external_data(tensor, "values", offset=0, length=16)
        tensor.ClearField("raw_data")
        return tensor

    def constant(output: str) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [output], value=external(output))

    branch = helper.make_graph([constant("c")], "branch", [], [helper.make_tensor_value_info("c", 1, [4])])
    sparse = helper.make_sparse_tensor(external("s"), numpy_helper.from_array(np.arange(4), "i"), [9])
    graph = helper.make_graph(
        [constant("a"), helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", 1, [4])],
        sparse_initializer=[sparse],
    )
    function = helper.make_function("azaion.test", "F", [], ["f"], [constant("f")], [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, functions=[function])
    (path := tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    read = onnx.load_model_from_string(ModelFile.read(str(path)).data)
    tensors = [
        read.graph.node[0].attribute[0].t,
        read.graph.node[1].attribute[0].g.node[0].attribute[0].t,
        read.graph.node[1].attribute[1].g.node[0].attribute[0].t,
        read.graph.sparse_initializer[0].values,
        read.functions[0].node[0].attribute[0].t,
    ]
    for tensor in tensors:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), [0, 1, 2, 3])


def test_elements_smaller_than_a_byte_are_packed(tmp_path: Path) -> None:
    path = save_split(tmp_path / "tiny.onnx")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.append(
        TensorProto(name="four_bits", dims=[5], data_type=TensorProto.INT4, data_location=TensorProto.EXTERNAL)
    )
    model.graph.initializer[-1].external_data.add(key="location", value="four")
    path.write_bytes(model.SerializeToString())
    (tmp_path / "four").write_bytes(b"\x21\x43\x05")
    read = onnx.load_model_from_string(ModelFile.read(str(path)).data)
    assert read.graph.initializer[-1].raw_data == b"\x21\x43\x05"


@pytest.mark.parametrize("location", ["../secret", "a/../../secret", "/etc/hostname", "", "a\0b"])
def test_a_location_outside_the_folder_is_refused(split: Path, location: str) -> None:
    (split.parent.parent / "secret").write_bytes(b"\0" * 10**5)
    rewrite(split, location=location)
    assert f"its weights are in {location!r}; only files in the model's own folder are read" in refusal(split)


def test_a_link_out_of_the_folder_is_refused_and_one_within_it_is_followed(split: Path) -> None:
    weights = split.parent / "tiny.onnx.data"
    (split.parent / "deeper").mkdir()
    weights.rename(split.parent / "deeper" / "w")
    weights.symlink_to("deeper/w")
    assert ModelFile.read(str(split)).weight_files == ("tiny.onnx.data",)
    (split.parent / "deeper" / "w").rename(outside := split.parent.parent / "w")
    weights.unlink()
    weights.symlink_to(outside)
    assert f"are a link to {str(outside)!r}, outside the model's folder: copy the file there" in refusal(split)


def test_the_cache_of_hugging_face_is_read_where_both_are_links_into_one_folder(split: Path, tmp_path: Path) -> None:
    for folder in ("blobs", "snapshots/1"):
        (tmp_path / folder).mkdir(parents=True)
    for name, blob in (("tiny.onnx", "c6ed"), ("tiny.onnx.data", "b879")):
        (split.parent / name).rename(tmp_path / "blobs" / blob)
        (tmp_path / "snapshots/1" / name).symlink_to(f"../../blobs/{blob}")
    assert ModelFile.read(str(tmp_path / "snapshots/1/tiny.onnx")).weight_files == ("tiny.onnx.data",)


def test_missing_weights_are_named(split: Path) -> None:
    rewrite(split, location="other.data")
    assert "its weights are in 'other.data', missing from" in refusal(split)
    (split.parent / "tiny.onnx.data").unlink()
    assert "its weights are in 'other.data' and 1 more, missing from" in refusal(split)


def test_weights_that_are_cut_or_only_a_pointer_are_told(split: Path) -> None:
    weights = split.parent / "tiny.onnx.data"
    size = weights.stat().st_size
    os.truncate(weights, size - 1)
    message = refusal(split)
    assert f"its weights 'tiny.onnx.data' have {size - 1} bytes, {size} are needed" in message
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5000000\n")
    assert "its weights 'tiny.onnx.data' are a Git LFS pointer to a file of 5.0 MB; fetch that file" in refusal(split)
    weights.write_bytes(b"")
    assert "its weights 'tiny.onnx.data' are an empty file" in refusal(split)
    weights.unlink()
    weights.mkdir()
    assert "its weights 'tiny.onnx.data' are no regular file" in refusal(split)
    weights.rmdir()
    os.mkfifo(weights)
    assert "its weights 'tiny.onnx.data' are no regular file" in refusal(split)


def test_weights_that_cannot_be_opened_are_told(split: Path) -> None:
    rewrite(split, location="a" * 300)
    assert "the weights beside it cannot be read: File name too long" in refusal(split)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"length": "4"}, "but the model says that it has 4 at 0"),
        ({"offset": "-8"}, "at -8 of"),
        ({"offset": "many"}, "offset and length are no whole numbers"),
        ({"offset": "99999999"}, "are needed: the file is cut short"),
    ],
)
def test_a_place_that_does_not_fit_the_tensor_is_refused(split: Path, entries: dict[str, str], words: str) -> None:
    rewrite(split, **entries)
    assert words in refusal(split)


def test_a_tensor_of_texts_cannot_be_beside_the_model(split: Path) -> None:
    model = onnx.load(split, load_external_data=False)
    model.graph.initializer[0].data_type = TensorProto.STRING
    split.write_bytes(model.SerializeToString())
    assert "is STRING" in refusal(split)


def test_a_model_that_is_too_large_with_its_weights_is_refused_before_they_are_read(split: Path) -> None:
    model = onnx.load(split, load_external_data=False)
    for number in range(3):  # each names the same bytes: a small file must not become a large model
        tensor = model.graph.initializer.add(
            name=f"large{number}", dims=[2**28], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
        )
        tensor.external_data.add(key="location", value="large")
    split.write_bytes(model.SerializeToString())
    with (split.parent / "large").open("wb") as file:
        file.truncate(2**30)
    message = refusal(split)
    assert "the model with the weights beside it has 3.00 GiB, the limit is 2: export it in FP16" in message


def test_the_size_counts_the_model_and_every_file(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = split.stat().st_size + sum(
        len(tensor.raw_data) for tensor in onnx.load(split).graph.initializer if tensor.raw_data
    )
    monkeypatch.setattr(external_weights, "MAX_MODEL_BYTES", total)
    assert ModelFile.read(str(split)).weight_files
    monkeypatch.setattr(external_weights, "MAX_MODEL_BYTES", total - 1)
    assert "the limit is" in refusal(split)


def test_bytes_alone_are_refused_by_every_engine_and_one_file_is_not(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(split.parent)  # where ONNX Runtime would find the weights, or another model's
    data = split.read_bytes()
    for use in (ModelInfo.from_onnx, OnnxEngine, build_plan):
        with pytest.raises(ModelError, match=r"weights are in the file 'tiny\.onnx\.data'.*open the model by its path"):
            use(data)
    onnx.save(onnx.load(split), "one.onnx")
    OnnxEngine(Path("one.onnx").read_bytes()).close()
