"""`azaion doctor`: checks GPU, TensorRT and packages, and says how to get what is missing."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from azaion_cli.console import make_table, megabytes, print_json, print_table, stdout
from azaion_cli.exit_codes import ExitCode
from azaion_cli.options import CacheOption, JsonOption, VerboseOption
from azaion_engine.errors import AzaionError
from azaion_engine.version import __version__

Status = Literal["ok", "absent", "problem"]
"""`absent`: missing but not required: the machine shows no GPU, or the part only makes it faster."""

_MARKS = {"ok": ("ok", "green"), "absent": ("-", "dim"), "problem": ("!!", "red")}
_GET_PYCUDA = "with the CUDA toolkit's headers and nvcc on the PATH: pip install pycuda"
_GET_TENSORRT = "pip install tensorrt (any NVIDIA GPU) or tensorrt_rtx_cu13 (GeForce RTX)"
_GET_NVJPEG = "on a GPU: pip install nvidia-nvjpeg-cu12"
_GET_NVML = "pip install nvidia-ml-py"
_RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9))
"""Compute capabilities of TensorRT-RTX besides 12.0 and later (its support matrix); on others, no plan loads."""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: What was checked.
        status: Outcome.
        found: What was found.
        advice: How to get what is missing; else empty.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def doctor(cache_dir: CacheOption = None, json_: JsonOption = False, verbose: VerboseOption = False) -> int:
    """Say which GPU and TensorRT are here, what is missing and how to get it.

    Ends with 3 when something keeps the GPU from being used, or anything from running; a host without one is fine.
    """
    checks = list(_checks(cache_dir))
    problems = [check for check in checks if check.status == "problem"]
    engine = _engine_here()
    if json_:
        print_json({"ok": not problems, "engine": engine, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks, engine)
    return ExitCode.ENVIRONMENT if problems else ExitCode.OK


def _checks(cache_dir: Path | None) -> Iterator[Check]:
    yield Check("azaion-engine", "ok", f"{__version__}, Python {platform.python_version()}, {platform.machine()}")
    driver = _driver()
    yield driver
    # Without a driver, packages for GPUs are not needed: absent, no problem.
    missing: Status = "absent" if driver.status == "absent" else "problem"
    yield _attempt("GPU", _gpus, missing, _GET_PYCUDA)
    yield _attempt("TensorRT", _tensorrt, missing, _GET_TENSORRT)
    yield _nvjpeg()
    yield _attempt("ONNX Runtime", _onnx_runtime, "problem", "pip install onnxruntime")
    yield _package("Ray Serve", "ray", "pip install 'ray[serve]'")
    yield _package("OpenCV", "opencv-python-headless", "pip install opencv-python-headless")
    yield _cache(cache_dir)


def _attempt(name: str, look: Callable[[], str], missing: Status, advice: str) -> Check:
    try:
        return Check(name, "ok", look())
    except (AzaionError, ImportError, OSError) as error:
        return Check(name, missing, str(error), advice)


def _driver() -> Check:
    """Asks NVML, which needs no PyCUDA; without it, looks for the kernel module's file."""
    try:
        import pynvml
    except ImportError:
        if Path("/proc/driver/nvidia/version").exists():
            return Check("NVIDIA driver", "problem", "there, but NVML's Python module is missing", _GET_NVML)
        return Check("NVIDIA driver", "absent", "none found: models run on the CPU")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Check("NVIDIA driver", "absent", f"none found ({error}): models run on the CPU")
    try:
        found = pynvml.nvmlSystemGetDriverVersion()
        gpus = [pynvml.nvmlDeviceGetName(_handle(pynvml, i)) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()
    return Check("NVIDIA driver", "ok", f"{_text(found)}, {', '.join(map(_text, gpus)) or 'no GPU'}")


def _handle(pynvml: object, index: int) -> object:
    return pynvml.nvmlDeviceGetHandleByIndex(index)  # type: ignore[attr-defined]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # older versions of nvidia-ml-py give bytes


def _gpus() -> str:
    from azaion_engine.cuda.context import load_driver
    from azaion_engine.cuda.gpu import describe_gpu

    gpus = [describe_gpu(index) for index in range(int(load_driver().Device.count()))]
    return "; ".join(
        f"{gpu.name}, compute capability {gpu.compute_capability[0]}.{gpu.compute_capability[1]}, {gpu.sm_count} SMs, "
        f"{gpu.memory_bytes / 2**30:.0f} GiB, engines are called {gpu.engine_filename}"
        for gpu in gpus
    )


def _tensorrt() -> str:
    from azaion_engine.cuda.gpu import describe_gpu, gpu_available
    from azaion_engine.engines.tensorrt import api as tensorrt_api
    from azaion_engine.errors import ConfigurationError

    trt = tensorrt_api.load()
    found = f"{trt.flavour} {trt.version}"
    if trt.flavour == "tensorrt_rtx" and gpu_available():
        capability = describe_gpu(0).compute_capability
        if capability not in _RTX_CAPABILITIES and capability < (12, 0):
            raise ConfigurationError(f"{found} does not run on compute capability {capability[0]}.{capability[1]}")
    return found


def _nvjpeg() -> Check:
    """Checks for nvJPEG, the JPEG decoder on a GPU; it is optional, the CPU decodes more slowly."""
    from azaion_engine.pictures.gpu import nvjpeg

    if found := nvjpeg.versions():
        return Check("nvJPEG", "ok", ", ".join(found))
    return Check("nvJPEG", "absent", "not installed: JPEGs are decoded on the CPU", _GET_NVJPEG)


def _onnx_runtime() -> str:
    import onnxruntime

    return f"{onnxruntime.__version__}, the engine where there is no GPU"


def _package(name: str, package: str, advice: str) -> Check:
    try:
        return Check(name, "ok", version(package))
    except PackageNotFoundError:
        return Check(name, "problem", "not installed", advice)


def _cache(cache_dir: Path | None) -> Check:
    from azaion_engine.plans.store import PlanStore

    store = PlanStore(cache_dir)
    there = next(folder for folder in (store.directory, *store.directory.absolute().parents) if folder.exists())
    try:
        TemporaryFile(dir=there).close()  # permission bits miss read-only mounts, full disks, root
    except OSError as error:
        advice = "make it writable, or set cache_dir to a folder that is"
        return Check("engine cache", "problem", f"{there} cannot be written: {error.strerror}", advice)
    free = megabytes(shutil.disk_usage(there).free)
    return Check("engine cache", "ok", f"{store.directory}, {len(store.plans())} engines, {free} free")


def _engine_here() -> str:
    """Returns the engine that `engine: auto` selects here."""
    from azaion_engine.engines.tensorrt import api as tensorrt_api
    from azaion_engine.opening import missing_for_tensorrt

    if missing_for_tensorrt():
        return "onnxruntime-cpu"
    trt = tensorrt_api.load()
    return f"{trt.flavour}-{trt.version}"


def _show(checks: list[Check], engine: str) -> None:
    from rich.text import Text

    table = make_table("", "", "")
    table.show_header = False
    for check in checks:
        mark, style = _MARKS[check.status]
        table.add_row(Text(mark, style), check.name, check.found)
        if check.advice:
            table.add_row("", "", f"→ {check.advice}")
    print_table(table)
    stdout().print(f"models run on {engine}", style="bold")
