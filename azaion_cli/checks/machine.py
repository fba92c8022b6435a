"""Checks of the machine: GPU, TensorRT, packages, memory and disks."""

from __future__ import annotations

import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile

from azaion_cli.checks.check import Check, Status
from azaion_cli.console import megabytes
from azaion_engine.errors import AzaionError
from azaion_engine.version import __version__

logger = logging.getLogger(__name__)

_GET_PYCUDA = "with the CUDA toolkit's headers and nvcc on the PATH: pip install pycuda"
_GET_TENSORRT = "pip install tensorrt (any NVIDIA GPU) or tensorrt_rtx_cu13 (GeForce RTX)"
_GET_NVJPEG = "on a GPU: pip install nvidia-nvjpeg-cu12"
_GET_NVML = "pip install nvidia-ml-py"
_RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9))
"""Compute capabilities of TensorRT-RTX besides 12.0 and later (its support matrix); on others, no plan loads."""
_SHARED_MEMORY = Path("/dev/shm")
_LITTLE_SHARED, _LITTLE_MEMORY, _LITTLE_DISK = 512 * 2**20, 2 * 2**30, 2 * 2**30
"""Bytes below which a warning comes: Docker gives 64 MiB of shared memory, where Ray wants its object store; Ray itself
takes a gigabyte; a build of an engine writes a few hundred MB, and Ray its logs."""


def machine_checks(cache_dir: Path | None) -> Iterator[Check]:
    """Checks this machine for what a detector and its service need.

    Args:
        cache_dir: Folder of the engines; default: the user's cache.
    """
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
    yield _rays_folder()
    yield _memory()
    yield _shared_memory()


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


def installed_gpus() -> list[str]:
    """Returns the names of this machine's GPUs as NVML shows them, whichever CUDA hides; none without a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # without the module, or a driver, there is none; NVML's errors are no OSError
        logger.debug("no GPU: %s", error)
        return []
    try:
        return [_text(pynvml.nvmlDeviceGetName(_handle(pynvml, i))) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


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
    from azaion_engine.engines.tensorrt import installed
    from azaion_engine.errors import ConfigurationError

    trt = installed.load()
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
    free = shutil.disk_usage(there).free
    found = f"{store.directory}, {len(store.plans())} engines, {megabytes(free)} free"
    if free < _LITTLE_DISK:
        return Check("engine cache", "warning", found, "free space: an engine that cannot be kept is built anew")
    return Check("engine cache", "ok", found)


def _rays_folder() -> Check:
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return Check(
            "Ray's folder", "problem", f"{folder}: {error.strerror}", "set RAY_TMPDIR to a folder that is there"
        )
    found = f"{folder}, {megabytes(usage.free)} free"
    if usage.free < _LITTLE_DISK:
        return Check(
            "Ray's folder", "warning", found, "free space, or set RAY_TMPDIR: Ray keeps logs and sockets there"
        )
    return Check("Ray's folder", "ok", found)


def _memory() -> Check:
    from azaion_engine.system.memory import available_memory

    there = available_memory()
    found = f"{megabytes(there)} of this machine or container"
    if there < _LITTLE_MEMORY:
        return Check("memory", "warning", found, "give it 2 GB or more: Ray alone takes one")
    return Check("memory", "ok", found)


def _shared_memory() -> Check:
    try:
        usage = shutil.disk_usage(_SHARED_MEMORY)
    except OSError as error:
        return Check("shared memory", "warning", f"{_SHARED_MEMORY}: {error.strerror}", "mount a tmpfs there")
    found = f"{_SHARED_MEMORY}, {megabytes(usage.total)}, {megabytes(usage.free)} free"
    if usage.free < _LITTLE_SHARED:
        advice = "docker run --shm-size=1g: Ray puts its object store on the disk else, and is slower"
        return Check("shared memory", "warning", found, advice)
    return Check("shared memory", "ok", found)
