#!/bin/sh
# Builds PyCUDA's wheel into a folder, without the CUDA toolkit and without a driver: its headers come from PyPI.
# Usage: pycuda_wheel.sh FOLDER, with g++ and Python's headers installed.
set -eu
wheels=$1
# The oldest headers of CUDA 12 that PyPI has with crt/: what is compiled against them runs on any driver from there on.
cuda=12.1.105
pycuda=2026.1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$wheels" "$work/cuda/include" "$work/cuda/lib64"
python3 -m venv "$work/venv"
pip="$work/venv/bin/pip --no-cache-dir --disable-pip-version-check"
$pip install --quiet --no-deps --target "$work/headers" \
  "nvidia-cuda-runtime-cu12==$cuda" "nvidia-cuda-nvcc-cu12==$cuda" "nvidia-cuda-profiler-api-cu12==$cuda"
cp -r "$work"/headers/nvidia/*/include/. "$work/cuda/include"

# libcuda is the driver's, which no build machine has: link against an empty library of its name.
echo | g++ -shared -x c++ - -o "$work/cuda/lib64/libcuda.so" -Wl,-soname,libcuda.so.1

$pip install --quiet setuptools wheel numpy
$pip download --quiet --no-deps --no-build-isolation --no-binary pycuda --dest "$work" "pycuda==$pycuda"
tar -xzf "$work/pycuda-$pycuda.tar.gz" -C "$work"
cd "$work/pycuda-$pycuda"
# No cuRAND: nothing here draws random numbers on the GPU, and it would be one more library at run time.
"$work/venv/bin/python" configure.py --no-cuda-enable-curand --cuda-root="$work/cuda" \
  --cudadrv-lib-dir="$work/cuda/lib64" >/dev/null
LDFLAGS=-Wl,--no-as-needed $pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$wheels" .
ls "$wheels"
