"""weak_typing: layers of unknown types; `test_builder.py` tests the rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from azaion_engine.engines.tensorrt.build.weak_typing import constrain_precision
from tests.azaion_engine.fakes.fake_tensorrt import DataType, make_tensorrt


def layer(kind: str, read: Any, made: Any) -> Any:
    return SimpleNamespace(
        name=kind,
        type=SimpleNamespace(name=kind),
        num_inputs=1,
        num_outputs=1,
        get_input=lambda index: read,
        get_output=lambda index: made,
        set_output_type=lambda index, dtype: None,
    )


@pytest.mark.parametrize("plugin", ["PLUGIN", "PLUGIN_V2", "PLUGIN_V3"])
def test_a_plugin_counts_as_heavy(plugin: str) -> None:
    tensors = [
        SimpleNamespace(name=str(i), shape=(1, 64, 8, 8), dtype=DataType.FLOAT, is_shape_tensor=False) for i in range(4)
    ]
    kinds = ("CONVOLUTION", plugin, "ELEMENTWISE")
    layers = [layer(kind, tensors[i], tensors[i + 1]) for i, kind in enumerate(kinds)]
    network = SimpleNamespace(num_layers=len(layers), get_layer=lambda index: layers[index])
    config = SimpleNamespace(set_flag=lambda flag: None)
    assert constrain_precision(make_tensorrt(None), network, config) == ["ELEMENTWISE"]  # type: ignore[arg-type]
