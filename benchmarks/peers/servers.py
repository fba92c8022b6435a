"""Servers: starts, asks and stops each of the compared services.

`azaion-throughput` is this project's `azaion serve`; `azaion` is Ray's own `serve run`, without what that sets. The
others are the scripts in `benchmarks/peers`, in environments of their own because their dependencies conflict
(`make peers`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from azaion_engine.settings import DetectorSettings
from azaion_engine.system.cores import available_cores
from benchmarks.service.load import Box, Request

ROOT = Path(__file__).resolve().parents[2]
PORT = 8000
PORT_FREE_S = 30.0
"""Longest wait, seconds, for the previous server to free the port: HAProxy ends its connections first."""
URL = f"http://127.0.0.1:{PORT}"
SERVERS = ("azaion", "azaion-throughput", "mosec", "litserve", "bentoml", "pytriton")


@dataclass(frozen=True)
class Server:
    """One way to serve the detector.

    Attributes:
        name: One of `SERVERS`.
        config: The Serve config; its `args` give model, engine, batch size and picture size for the peers too.
        workers: Copies of the detector; they share the cores, and the GPU if there is one.
    """

    name: str
    config: Mapping[str, Any]
    workers: int = 1

    @property
    def is_ours(self) -> bool:
        """Whether this is the project's service and not a peer."""
        return self.name.startswith("azaion")

    @property
    def settings(self) -> dict[str, Any]:
        """The part of the config's `args` that all servers share: the detector's settings."""
        args = self.config["applications"][0]["args"]
        return {key: value for key, value in args.items() if key in DetectorSettings.model_fields}

    def request(self, picture: bytes) -> Request:
        """Returns the request that asks this server for the boxes of a picture."""
        if self.name == "litserve":
            return _form_request("/detect", "picture", picture)
        if self.name == "bentoml":
            return _form_request("/detect", "pictures", picture)
        if self.name == "pytriton":
            return _triton_request("/v2/models/detect/infer", picture)
        return Request("/detect", picture, {"Content-Type": "image/jpeg"})

    def boxes(self, answer: Any) -> list[Box]:
        """Returns the boxes in this server's answer to one picture."""
        if self.name == "bentoml":
            [answer] = answer
        if self.name == "pytriton":
            answer = json.loads(answer["outputs"][0]["data"][0])
        return list(answer["boxes"])

    @contextmanager
    def running(self, picture: bytes, patience_s: float) -> Iterator[Any]:
        """Starts the server, yields its first answer to the picture, and stops it and its child processes.

        Args:
            picture: Encoded picture.
            patience_s: Timeout of the first answer, seconds.

        Raises:
            SystemExit: The port is taken, the server ends, or it does not answer in time. Its log is printed.
        """
        python = self.python()
        _refuse_taken_port()  # else a left-over server would be measured instead of this one
        with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
            config = Path(folder) / "config.yaml"
            config.write_text(yaml.safe_dump(self._serve_config()))
            process = subprocess.Popen(
                self._command(python, config),
                cwd=ROOT,
                env={**os.environ, **self._environment()},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield self._first_answer(process, self.request(picture), patience_s)
            except BaseException:
                print(Path(log.name).read_text(errors="replace")[-5000:], file=sys.stderr)
                raise
            finally:
                _stop(process)

    def python(self) -> Path:
        """Returns the interpreter of this server's environment.

        Raises:
            SystemExit: The environment does not exist.
        """
        if self.is_ours:
            return Path(sys.executable)
        environment = ".venv-pytriton" if self.name == "pytriton" else ".venv-peers"
        python = ROOT / environment / "bin" / "python"
        if not python.exists():
            raise SystemExit(f"{self.name} is not installed: `make peers` builds {environment}")
        return python

    def _command(self, python: Path, config: Path) -> list[str]:
        if self.name == "azaion-throughput":
            return [str(python), "-m", "azaion_cli", "serve", str(config)]
        if self.is_ours:
            return [str(python), "-m", "ray.serve.scripts", "run", str(config)]
        if self.name == "mosec":
            return [str(python), "-m", "benchmarks.peers.mosec_server", "--address=127.0.0.1", f"--port={PORT}"]
        if self.name == "bentoml":
            service = "benchmarks.peers.bentoml_server:DetectionService"
            return [str(python), "-m", "bentoml", "serve", service, "--host=127.0.0.1", f"--port={PORT}"]
        return [str(python), "-m", f"benchmarks.peers.{self.name}_server"]

    def _environment(self) -> dict[str, str]:
        if self.is_ours:
            return {}
        return {
            "BENCHMARK_SETTINGS": json.dumps(self.settings),
            "BENCHMARK_WORKERS": str(self.workers),
            "BENCHMARK_PORT": str(PORT),
            "PYTHONPATH": str(ROOT),
            "BENTOML_DO_NOT_TRACK": "True",
            # Instances that load in parallel wait one second for the first one's socket, but loading takes longer.
            "TRITON_PARALLEL_INSTANCE_LOADING": "0",
        }

    def _serve_config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(json.dumps(self.config))
        config["http_options"].update(host="127.0.0.1", port=PORT)
        on_cpu = self.settings.get("engine") == "onnx"
        config["applications"][0]["args"]["cpu_replicas" if on_cpu else "replicas_per_gpu"] = self.workers
        return config

    def _first_answer(self, process: subprocess.Popen[bytes], request: Request, patience_s: float) -> Any:
        answered, begun = "nothing", time.monotonic()
        while time.monotonic() - begun < patience_s:
            if process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {process.returncode}")
            try:
                response = httpx.post(URL + request.path, content=request.body, headers=request.headers, timeout=60)
                if response.status_code == 200:
                    return response.json()
                answered = f"{response.status_code} {response.text[:200]}"
            except httpx.HTTPError as error:  # not listening yet
                answered = repr(error)
            time.sleep(0.2)
        raise SystemExit(f"{self.name} gave no answer within {patience_s:g} s, last: {answered}")


def workers_of(config: Mapping[str, Any]) -> list[int]:
    """Returns the numbers of workers to try: on a CPU, one with all cores, and one per core."""
    on_cpu = config["applications"][0]["args"].get("engine") == "onnx"
    return sorted({1, available_cores()}) if on_cpu else [1, 2, 4, 8]


def _refuse_taken_port() -> None:
    end = time.monotonic() + PORT_FREE_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)):
                return
        if time.monotonic() > end:
            raise SystemExit(f"something listens on port {PORT}; stop it first")
        time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):  # its child processes
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _form_request(path: str, name: str, picture: bytes) -> Request:
    sent = httpx.Request("POST", URL, files={name: ("picture.jpg", picture, "image/jpeg")})
    return Request(path, sent.read(), {"Content-Type": sent.headers["Content-Type"]})


def _triton_request(path: str, picture: bytes) -> Request:
    """Makes a request in the binary extension of KServe's protocol, without base64: JSON, then each tensor's bytes."""
    data = struct.pack("<I", len(picture)) + picture
    picture_input = {"name": "picture", "shape": [1, 1], "datatype": "BYTES"}
    outputs = [{"name": "answer", "parameters": {"binary_data": False}}]
    inputs = [{**picture_input, "parameters": {"binary_data_size": len(data)}}]
    header = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
    return Request(path, header + data, headers)
