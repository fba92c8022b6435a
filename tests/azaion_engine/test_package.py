"""The package as a whole: modules imported with it, and its public names."""

from __future__ import annotations

import subprocess
import sys

import azaion_engine

HEAVY = ("tensorrt", "tensorrt_rtx", "pycuda", "pynvml", "onnxruntime", "onnx", "cv2", "ray", "PIL", "pydantic")


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, azaion_engine; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_no_library_module_imports_ray_or_a_gpu_package_when_imported():
    code = (
        "import sys, pkgutil, importlib, azaion_engine\n"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(azaion_engine.__path__, 'azaion_engine.')]\n"
        "print([m for m in ('tensorrt', 'tensorrt_rtx', 'pycuda', 'pynvml', 'ray') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_every_public_name_resolves():
    for name in azaion_engine.__all__:
        assert getattr(azaion_engine, name) is not None
