"""`azaion inspect`: shows an ONNX file, a plan or the cache, and whether a plan would be reused."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azaion_cli.commands.models.cache import describe, print_plans
from azaion_cli.console import make_table, megabytes, print_json, print_pairs, print_table
from azaion_cli.options import CacheOption, JsonOption, SetOption, VerboseOption, existing_model, read_settings
from azaion_engine.errors import AzaionError, ModelError

if TYPE_CHECKING:
    from azaion_engine.model.file import ModelFile
    from azaion_engine.model.info import ModelInfo
    from azaion_engine.settings import DetectorSettings

_ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
"""Suffixes of a TensorRT engine, for one of a version whose first bytes are not known."""


def inspect(
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help="ONNX file, 'demo', plan, or cache folder; default: the cache."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Say whether engines would be reused for this ONNX file.", callback=existing_model
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="List every layer.")] = False,
    cache_dir: CacheOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show shapes, precision, layers and manifest, and why an engine would or would not be reused here.

    With --model (and --set for its settings) engines are judged for that model, else for the one they were built from.
    """
    settings = read_settings(set_, cache_dir=cache_dir, model=model)
    path = Path(os.path.expanduser(target)) if target else None
    if path is not None and target != "demo" and not path.exists():
        raise typer.BadParameter(f"no such file or folder: {target!r}", param_hint="TARGET")
    info = _model_info(model) if model else None
    group = "onnx" if target == "demo" else "folder" if path is None else _group(path)
    if group == "folder":
        _show_cache(path, info, settings, json_)
    elif path is not None and group == "engine":
        _show_plan(path, info, settings, layers, json_)
    else:
        _show_onnx(str(target), settings, layers, json_)


def _group(path: Path) -> str:
    from azaion_engine.model.file_kind import kind_of
    from azaion_engine.plans.stored_plan import StoredPlan

    try:
        group = kind_of(path).group
    except OSError:  # reading the model names the fault
        return "other"
    if group in ("other", "unknown") and path.suffix.lower() in _ENGINE_SUFFIXES:
        # A stored engine may be damaged: then its manifest, and why it is not reused, are what there is to show.
        return "engine" if group == "unknown" or StoredPlan(path).manifest_path.exists() else group
    return group


def _model_info(model: str) -> ModelInfo:
    from azaion_engine.model.file import ModelFile

    return ModelFile.read(model).info


# --- the cache ----------------------------------------------------------------------------------


def _show_cache(folder: Path | None, info: ModelInfo | None, settings: DetectorSettings, as_json: bool) -> None:
    from azaion_engine.plans.store import PlanStore

    store = PlanStore(folder or settings.cache_dir)
    engines = [describe(plan, info, settings) for plan in store.plans()]
    if as_json:
        print_json({"kind": "cache", "directory": str(store.directory), "engines": engines})
    else:
        print_pairs([("cache", str(store.directory)), ("engines", str(len(engines)))])
        print_plans(engines)


# --- an ONNX file -------------------------------------------------------------------------------


def _show_onnx(target: str, settings: DetectorSettings, layers: bool, as_json: bool) -> None:
    from azaion_engine.model.file import ModelFile
    from azaion_engine.plans.store import PlanStore

    file = ModelFile.read(target)
    shown = _onnx(file) | _usable(file, settings)
    # Plans are matched by the hash in their manifests: folders carry the model's file name, which may change.
    found = [describe(plan) for plan in PlanStore(settings.cache_dir).plans()]
    engines = [e for e in found if e["manifest"] and e["manifest"]["key"]["model_sha256"] == shown["sha256"]]
    listed = shown.pop("layers")
    if as_json:
        print_json(
            {"kind": "onnx", "path": target, **shown, "engines": engines} | ({"layers": listed} if layers else {})
        )
        return
    beside = f" with the weights of {', '.join(file.weight_files)}" if file.weight_files else ""
    pairs = [
        ("model", f"{target}{beside}, {megabytes(shown['bytes'])}, SHA-256 {shown['sha256']}"),
        ("made by", f"{shown['producer'] or 'unknown'}, opset {shown['opset']}, IR {shown['ir_version']}"),
        *(
            (word, _tensor(tensor))
            for word, key in (("input", "inputs"), ("output", "outputs"))
            for tensor in shown[key]
        ),
        ("weights", ", ".join(f"{count:,} {kind}" for kind, count in shown["parameters"].items())),
        ("layers", ", ".join(f"{count} {kind}" for kind, count in shown["operators"].items())),
        ("classes", ", ".join(f"{i} {name}" for i, name in shown["classes"].items()) or "not named in the file"),
        *([("head", f"{shown['head']}: {shown['recognised']}"), ("pictures", shown["form"])] if shown["head"] else ()),
        *(("note", note) for note in shown["notes"]),
        ("usable", "yes" if shown["supported"] else f"no: {shown['why_not']}"),
        ("engines", str(len(engines)) if engines else "none in the cache"),
    ]
    print_pairs(pairs)
    print_plans(engines)
    if layers:
        table = make_table("#", "type", "name", right=("#",))
        for number, layer in enumerate(listed):
            table.add_row(str(number), layer["type"], layer["name"])
        print_table(table)


def _onnx(file: ModelFile) -> dict[str, Any]:
    """Returns what an ONNX model contains, JSON-ready; it need not be a detector."""
    import numpy as np
    import onnx

    from azaion_engine.model.info import read_tensor
    from azaion_engine.model.parsing import parse_model

    model = parse_model(file.data)
    try:
        names = file.info.names
    except ModelError:  # `_usable` says why
        names = {}
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    parameters: Counter[str] = Counter()
    for weight in graph.initializer:
        kind = str(onnx.helper.tensor_dtype_to_np_dtype(weight.data_type))
        parameters[kind] += int(np.prod(weight.dims, dtype=np.int64))
    return {
        "bytes": len(file.data),
        "weight_files": list(file.weight_files),
        "sha256": file.sha256,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opset": next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None),
        "ir_version": model.ir_version,
        "inputs": [vars(read_tensor(value)) for value in graph.input if value.name not in weights],
        "outputs": [vars(read_tensor(value)) for value in graph.output],
        "parameters": dict(parameters.most_common()),
        "operators": dict(Counter(node.op_type for node in graph.node).most_common()),
        "classes": names,
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "layers": [{"name": node.name, "type": node.op_type} for node in graph.node],
    }


def _usable(file: ModelFile, settings: DetectorSettings) -> dict[str, Any]:
    """Answers a sample on ONNX Runtime, as `azaion detect` does; returns what it was recognised as, or why not."""
    from azaion_engine.opening.engine import open_engine
    from azaion_engine.opening.recognition import unfollowed
    from azaion_engine.samples import check_on_sample

    try:
        with open_engine(file, settings.model_copy(update={"engine": "onnx"})) as engine:
            check_on_sample(engine, settings.confidence)
            choice = engine.choice
            height, width = engine.get_input_shape()
            return {
                "supported": True,
                "why_not": "",
                "head": choice.head.name,
                "recognised": choice.family,
                "form": f"{height} x {width}, {choice.form.describe()}",
                "notes": [*choice.notes, *unfollowed(file.info, settings, engine)],
            }
    except AzaionError as error:
        return {"supported": False, "why_not": str(error), "head": "", "recognised": "", "form": "", "notes": []}


# --- a plan -------------------------------------------------------------------------------------


def _show_plan(path: Path, info: ModelInfo | None, settings: DetectorSettings, layers: bool, as_json: bool) -> None:
    from azaion_engine.engines.tensorrt.plan_info import PlanInfo
    from azaion_engine.plans.stored_plan import StoredPlan

    plan = path.read_bytes()
    shown = {"kind": "plan", **describe(StoredPlan(path), info, settings)}
    shown["sha256"] = hashlib.sha256(plan).hexdigest()
    opened, fault = None, ""
    try:
        opened = PlanInfo.from_plan(plan)
    except AzaionError as error:  # the manifest can still be shown
        fault = str(error)
    tensors = [
        {"name": t.name, "input": t.is_input, "dtype": str(t.dtype), "shape": t.shape, "profile": t.profile}
        for t in (opened.tensors if opened else ())
    ]
    shown |= {
        "opened": opened is not None,
        "why_not_opened": fault,
        "tensors": tensors,
        "layer_count": len(opened.layers) if opened else None,
        "scratch_bytes": opened.memory_bytes if opened else None,
    }
    names = list(opened.layers) if opened else []
    if as_json:
        print_json(shown | ({"layers": names} if layers else {}))
        return
    pairs = [("plan", f"{path}, {megabytes(len(plan))}, SHA-256 {shown['sha256']}")]
    if shown["manifest"]:
        manifest = shown["manifest"]
        pairs += [(name.replace("_", " "), _text(value)) for name, value in manifest["key"].items()]
        pairs += [("built", f"{manifest['built_at']} in {manifest['build_seconds']:.0f} s")]
    pairs += [("input" if tensor["input"] else "output", _tensor(tensor)) for tensor in tensors]
    if opened:
        pairs += [("layers", str(len(names))), ("scratch", megabytes(opened.memory_bytes))]
    else:
        pairs += [("layers", f"cannot be read here: {fault}")]
    pairs += [("reused here", "yes" if shown["reusable"] else f"no: {'; '.join(shown['why_not'])}")]
    print_pairs(pairs)
    if layers:
        print("\n".join(names))


def _tensor(tensor: dict[str, Any]) -> str:
    shape = ", ".join("?" if size < 0 else str(size) for size in tensor["shape"])
    profile = " to ".join(str(list(shape)) for shape in tensor.get("profile", ())[::2])
    return f"{tensor['name']} {tensor['dtype']} [{shape}]" + (f", {profile}" if profile else "")


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "default" if value is None else str(value)
